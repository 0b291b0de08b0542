//! `smollm3 bench …`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;
use smollm3_corpus::read::sample_rows;
use smollm3_corpus::shards::LocalShards;
use smollm3_corpus::tokenizer::slow_note;
use smollm3_corpus::{StoreWriter, TokenStore, Tokenizer, bench as corpus_bench};
use smollm3_engine::bench::{StepBench, StepProfile, StepSettings, bits as bits_bench, step as step_bench};
use smollm3_estimate::{Memory, store_rate};
use smollm3_hub::Wanted;
use smollm3_kernels::{FreedMemory, peak_memory, set_deterministic};
use smollm3_mixer::{Documents, WindowReader, bench as mixer_bench};
use smollm3_model::bench::generation;
use smollm3_model::hf::Checkpoint;
use smollm3_model::{DeviceInit, ModelConfig, SmolLm3};
use smollm3_pretrain::stage_order;
use smollm3_recipe::Recompute;

use crate::args::{BenchGenerateArgs, BenchMixerArgs, BenchStepArgs, BenchTokenizeArgs};
use crate::data::{store_folder, training_stage};
use crate::date;
use crate::hub::local_folder;

/// Duration of each measurement of throughput.
const DURATION: Duration = Duration::from_secs(3);
const REPETITIONS: usize = 21;

/// `bench mixer`.
#[derive(Serialize)]
struct MixerBench {
    recipe: String,
    stage: String,
    steps: u64,
    sources: usize,
    build_milliseconds: f64,
    addressing: Vec<StepTime>,
    ordered_sequences_per_second: f64,
    /// Peak memory of the process after the ordering, if the system reports it.
    peak_megabytes: Option<f64>,
    served_gigabytes_per_second: f64,
    served_windows_per_second: f64,
}

#[derive(Serialize)]
struct StepTime {
    step: u64,
    median_milliseconds: f64,
    longest_milliseconds: f64,
}

/// `smollm3 bench mixer`.
pub fn mixer(args: &BenchMixerArgs) -> Result<()> {
    let recipe = args.recipe.load()?;
    let (stage, training) = training_stage(&recipe, args.stage.as_deref())?;
    let begin = Instant::now();
    let mixer = stage_order(&recipe, &training, |_| None)?;
    let built = begin.elapsed();
    let steps = mixer.steps();
    // Both ends, the middle, and both sides of each boundary between phases.
    let mut places = vec![1, steps / 2, steps];
    for phase in &training.phases {
        let end = training.end_step(phase);
        places.extend([end, end + 1]);
    }
    places.retain(|step| (1..=steps).contains(step));
    places.sort_unstable();
    places.dedup();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let addressing = mixer_bench::addressing(&mixer, &places, REPETITIONS)?
        .into_iter()
        .map(|time| StepTime {
            step: time.step,
            median_milliseconds: milliseconds(time.median),
            longest_milliseconds: milliseconds(time.longest),
        })
        .collect();
    let ordering = mixer_bench::ordering(&mixer, 1, DURATION)?;
    let peak_megabytes = peak_memory().map(|bytes| bytes as f64 / 1e6);

    let random = tempfile::tempdir()?;
    let store = match &args.store {
        Some(path) => TokenStore::open(store_folder(path))?,
        None => random_store(random.path())?,
    };
    let reader = WindowReader::new(store, training.sequence_length.0, u32::MAX, Documents::Index)?;
    let serving = mixer_bench::serving(&reader, DURATION)?;
    let result = MixerBench {
        recipe: recipe.run.name.clone(),
        stage: stage.name.clone(),
        steps,
        sources: mixer.config().sources.len(),
        build_milliseconds: milliseconds(built),
        addressing,
        ordered_sequences_per_second: ordering.sequences_per_second(),
        peak_megabytes,
        served_gigabytes_per_second: serving.bytes_per_second() / 1e9,
        served_windows_per_second: serving.sequences_per_second(),
    };
    if args.json {
        return print_json(&result);
    }
    println!(
        "{}, {}: {} steps of {} sources",
        result.recipe, result.stage, result.steps, result.sources
    );
    println!("  built in {:.2} ms", result.build_milliseconds);
    for time in &result.addressing {
        println!(
            "  step {:>9} addressed in {:.3} ms (longest {:.3})",
            time.step, time.median_milliseconds, time.longest_milliseconds
        );
    }
    println!(
        "  {:.0} sequences ordered per second",
        result.ordered_sequences_per_second
    );
    if let Some(peak) = result.peak_megabytes {
        println!("  {peak:.0} MB of peak memory so far");
    }
    println!(
        "  windows read at {:.2} GB/s, {:.0} per second",
        result.served_gigabytes_per_second, result.served_windows_per_second
    );
    Ok(())
}

/// A store of 64 million random tokens in documents of a thousand.
fn random_store(folder: &Path) -> Result<TokenStore> {
    const VOCABULARY: u64 = 128_256;
    let file = folder.join("random.ds");
    let mut writer = StoreWriter::create(&file, "none", VOCABULARY)?;
    let mut token = 1u32;
    let mut document = vec![0; 1000];
    for _ in 0..64_000 {
        for id in &mut document {
            token = token.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *id = token % VOCABULARY as u32;
        }
        writer.push_document(&document)?;
    }
    writer.finish()?;
    Ok(TokenStore::open(&file)?)
}

/// `smollm3 bench tokenize`.
pub fn tokenize(args: &BenchTokenizeArgs) -> Result<()> {
    let tokenizer = Tokenizer::load(&args.tokenizer)?;
    let files = LocalShards::find("bench", &args.inputs)?;
    let texts = sample_rows(&files, &args.column, args.bytes.0)?;
    let work = tempfile::tempdir()?;
    let result = corpus_bench::tokenize(&texts, &tokenizer, args.rounds, work.path())?;
    if args.json {
        return print_json(&result);
    }
    println!(
        "{} documents, {:.1} MB, {} tokens; {} threads, {} rounds",
        result.documents,
        result.text_bytes as f64 / 1e6,
        result.tokens,
        result.threads,
        result.rounds
    );
    println!(
        "  MB/s of text                     total   reading   parsing   (reading and parsing on one thread)"
    );
    for file in &result.files {
        println!(
            "  {:<22}{:>16.1}{:>10.1}{:>10.1}   {:.1} MB",
            file.kind,
            file.whole,
            file.read,
            file.parse,
            file.bytes as f64 / 1e6
        );
    }
    println!("  encoding, one thread      {:>12.1}", result.encode);
    println!("  writing, one thread       {:>12.1}", result.write);
    println!("  tokenizers 0.22 alone     {:>12.1}", result.slow_alone);
    println!("  JSON lines over 0.22, median of rounds: {:.1}", result.ratio);
    if let Some(component) = &result.slow_because {
        println!("  {}", slow_note(component));
    }
    Ok(())
}

/// `smollm3 bench generate`.
pub fn generate(args: &BenchGenerateArgs) -> Result<()> {
    let (device, precision) = args.compute.open()?;
    let longest = args.prompt.0.saturating_add(args.new.max(2) as u64);
    let named = local_folder(&args.model, Wanted::MODEL)?;
    let model = match named.is_dir() {
        true => {
            let mut checkpoint = Checkpoint::open(&named)?;
            checkpoint.config = checkpoint.config.with_positions(longest, &named)?;
            checkpoint.model_in(precision, &device)?
        }
        false => {
            let config = architecture(&args.model)?.with_positions(longest, &args.model)?;
            let source = DeviceInit::new(&config, precision);
            SmolLm3::new(&config, &source, &device)?.with_precision(precision)
        }
    };
    let result = generation(&model, [args.rows, args.prompt.0 as usize, args.new], args.rounds)?;
    if args.json {
        return print_json(&result);
    }
    println!(
        "prompt  {:>10.1} tokens/s\nnew     {:>10.1} tokens/s",
        result.prefill_tokens_per_second, result.decode_tokens_per_second
    );
    if let Some(peak) = result.peak_megabytes {
        println!("memory  {:>10.2} GB peak", peak / 1e3);
    }
    if let Some(peak) = result.device_megabytes {
        println!("on GPU  {:>10.2} GB peak", peak / 1e3);
    }
    Ok(())
}

fn architecture(file: &Path) -> Result<ModelConfig> {
    let is_json = file.extension().is_some_and(|extension| extension == "json");
    Ok(match (file.is_file(), is_json) {
        (true, true) => ModelConfig::from_hf_file(file)?,
        (true, false) => ModelConfig::from_toml_file(file)?,
        (false, _) => {
            let folder = local_folder(file, Wanted::CONFIG)?;
            ModelConfig::from_hf_file(&folder.join("config.json"))?
        }
    })
}

fn step_settings(args: &BenchStepArgs) -> Result<StepSettings> {
    FreedMemory::of_run(args.recompute).set();
    set_deterministic(!args.not_deterministic);
    Ok(StepSettings {
        sequence_length: args.sequence_length.0 as usize,
        micro_batch: args.micro_batch,
        documents: args.documents,
        precision: args.compute.precision()?,
        recompute: match args.recompute {
            true => Recompute::Layers,
            false => Recompute::None,
        },
        steps: args.steps,
        profile: args.profile,
    })
}

/// `smollm3 bench bits`.
pub fn bits(args: &BenchStepArgs) -> Result<()> {
    if args.profile {
        bail!("--profile is not for bench bits; write bench step --profile");
    }
    let settings = step_settings(args)?;
    let result = bits_bench(&step_model(args)?, &settings, &args.compute.device.open()?)?;
    if args.json {
        print_json(&result)?;
    } else if result.equal {
        println!("{} steps, twice: the same bits", settings.steps);
    }
    match result.equal {
        true => Ok(()),
        false => bail!("{} steps, twice: different bits", settings.steps),
    }
}

fn step_model(args: &BenchStepArgs) -> Result<ModelConfig> {
    Ok(architecture(&args.config)?.with_positions(args.sequence_length.0, &args.config)?)
}

/// `bench step`.
#[derive(Serialize)]
struct PlannedBench<'b> {
    #[serde(flatten)]
    result: &'b StepBench,
    /// Planned memory on top of `base_megabytes`, in 10⁶ bytes.
    planned_megabytes: f64,
}

/// `smollm3 bench step`.
pub fn step(args: &BenchStepArgs) -> Result<()> {
    let settings = step_settings(args)?;
    let (config, device) = (step_model(args)?, args.compute.device.open()?);
    let result = step_bench(&config, &settings, &device)?;
    let backend = args.compute.device.backend();
    let of = (backend, args.compute.device.device.as_deref());
    let today = date::or_today(None)?.to_string();
    match store_rate(&config, &settings, !args.not_deterministic, of, &result, today) {
        Ok(Some(file)) => eprintln!("stored for `smollm3 plan` in {}", file.display()),
        Ok(None) => {}
        Err(error) => eprintln!("note: not stored for `smollm3 plan`: {error}"),
    }
    let planned = Memory::of_device(
        &config,
        settings.precision,
        settings.sequence_length as u64,
        settings.micro_batch as u64,
        settings.recompute == Recompute::Layers,
        1,
    );
    let planned_megabytes = planned.total as f64 / 1e6;
    if args.json {
        return print_json(&PlannedBench {
            result: &result,
            planned_megabytes,
        });
    }
    println!(
        "{:.1}M parameters, {} tokens per step, {backend}",
        result.parameters as f64 / 1e6,
        result.tokens
    );
    println!(
        "  {:.0} tokens/s, {:.1} ms per step",
        result.tokens_per_second, result.step_milliseconds
    );
    println!(
        "  {:.0} GFLOP/s of the model, {:.0} % of the best matrix product ({:.0} GFLOP/s)",
        result.gigaflops,
        result.utilisation * 100.0,
        result.ceiling_gigaflops
    );
    if let Some(peak) = result.peak_megabytes {
        let base = result.base_megabytes.unwrap_or(0.0);
        println!(
            "  {:.0} MB of peak memory, besides {base:.0} MB of the program; the plan expects {planned_megabytes:.0} MB",
            peak - base
        );
    }
    if let Some(memory) = result.device_megabytes {
        println!(
            "  {:.0} MB of tensors on the GPU at the peak, {:.0} MB reserved",
            memory.tensors, memory.reserved
        );
    }
    let parts = result.parts;
    println!(
        "  ms: attention {:.1}, linears {:.1}, loss {:.1}, optimizer {:.1}, rest {:.1}",
        parts.attention, parts.linears, parts.loss, parts.optimizer, parts.rest
    );
    match result.profile {
        None => {}
        Some(StepProfile::Missing { error }) => println!("  no profile: {error}"),
        Some(StepProfile::Found(profile)) => {
            let (span, busy) = (profile.span_milliseconds, profile.busy_milliseconds);
            println!("  a step of {span:.1} ms, {busy:.1} ms of them busy:");
            for (name, calls, milliseconds) in profile.operations.iter().take(40) {
                println!("  {milliseconds:>10.2} ms {calls:>6} × {name}");
            }
        }
    }
    Ok(())
}

fn print_json(result: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(result)?);
    Ok(())
}
