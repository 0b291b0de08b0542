//! `smollm3 merge`.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use smollm3_hub::Wanted;
use smollm3_merge::mergekit::Configuration;
use smollm3_merge::{MergeSettings, TokenizerFrom, merge as merge_folders};

use crate::adapter::refuse_adapter;
use crate::args::MergeArgs;
use crate::hub::local_folder;
use crate::interrupt::flag;
use crate::progress::style;

/// `smollm3 merge`.
pub fn merge(args: &MergeArgs) -> Result<()> {
    let mut asked = match &args.config {
        Some(file) => Configuration::read(file)?,
        None => Configuration {
            parents: args
                .model
                .iter()
                .map(|text| parent(text))
                .collect::<Result<_>>()?,
            settings: MergeSettings::default(),
        },
    };
    if args.as_given {
        asked.settings.normalise = false;
    }
    asked.settings.dtype = args.dtype.or(asked.settings.dtype);
    if let Some(folder) = &args.tokenizer_from {
        asked.settings.tokenizer_from = TokenizerFrom::Folder(folder.clone());
    }
    for (folder, _) in &mut asked.parents {
        let found = local_folder(folder, Wanted::MODEL)?;
        refuse_adapter(folder, &found)?;
        *folder = found;
    }
    if let TokenizerFrom::Folder(folder) = &mut asked.settings.tokenizer_from {
        *folder = local_folder(folder, Wanted::TEXT)?;
    }
    let stop = flag("stopping; the output is removed")?;
    let bar = ProgressBar::new(0);
    style(&bar, "merging {bar:24} {bytes}/{total_bytes}  {eta} left");
    let report = merge_folders(&asked.parents, &asked.settings, &args.out, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        match stop.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    bar.finish_and_clear();
    println!(
        "wrote {}: {} parameters as {}; README.md and merge.json describe it",
        args.out.display(),
        report.parameters,
        report.dtype
    );
    Ok(())
}

/// `CHECKPOINT=WEIGHT`.
fn parent(text: &str) -> Result<(PathBuf, f64)> {
    let Some((folder, weight)) = text.rsplit_once('=') else {
        bail!("--model {text}: write a checkpoint and its weight, such as --model runs/apo=0.9");
    };
    let weight = weight
        .parse()
        .with_context(|| format!("--model {text}: `{weight}` is not a weight; write a number such as 0.9"))?;
    Ok((folder.into(), weight))
}
