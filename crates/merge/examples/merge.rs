//! Merges checkpoints from the command line:
//! `merge --out DIR --model FOLDER=WEIGHT --model FOLDER=WEIGHT …`, or `merge --out DIR --config MERGEKIT_YAML`.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;

use smollm3_merge::mergekit::Configuration;
use smollm3_merge::{MergeSettings, merge};

fn main() -> Result<(), Box<dyn Error>> {
    let mut configuration = Configuration {
        parents: Vec::new(),
        settings: MergeSettings::default(),
    };
    let mut out = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--out" => out = Some(PathBuf::from(value)),
            "--config" => configuration = Configuration::read(value.as_ref())?,
            "--model" => {
                let (folder, weight) = value.rsplit_once('=').ok_or("--model is FOLDER=WEIGHT")?;
                configuration.parents.push((folder.into(), weight.parse()?));
            }
            other => return Err(format!("{other} is not an option").into()),
        }
    }
    let out = out.ok_or("--out is missing")?;
    let report = merge(
        &configuration.parents,
        &configuration.settings,
        &out,
        &mut |done, total| {
            eprint!("\r{:3} %", done * 100 / total.max(1));
            ControlFlow::Continue(())
        },
    )?;
    eprintln!();
    println!(
        "{}: {} parameters as {}",
        out.display(),
        report.parameters,
        report.dtype
    );
    Ok(())
}
