//! Which rank this process is, from the variables that its launcher set.
//!
//! One launcher can run inside another: under mpirun in a Slurm job the variables of both are set, and those of Slurm
//! describe mpirun's daemons, not the ranks. So the innermost is believed: mpirun, then torchrun, then srun. A launcher with some
//! variables missing is an error: a process that takes itself for the only one would train alone, and so would the others.
//!
//! Sources: Open MPI 4.1 manual, mpirun(1), "Environment"; MPICH's Hydra and Intel MPI set `PMI_*` and `MPI_LOCAL*`;
//! PyTorch, docs/elastic/run, "Environment Variables"; Slurm 22.05, srun(1), "Output environment variables".

use std::collections::BTreeMap;
use std::fmt;

/// What started the ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launcher {
    /// Nothing: one process.
    None,
    /// Open MPI's mpirun.
    OpenMpi,
    /// The mpirun of MPICH, Intel MPI or another that speaks PMI.
    Pmi,
    /// PyTorch's torchrun, or a script that sets the same variables.
    Torchrun,
    /// Slurm's srun.
    Slurm,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no launcher",
            Self::OpenMpi => "mpirun (Open MPI)",
            Self::Pmi => "mpirun (PMI)",
            Self::Torchrun => "torchrun",
            Self::Slurm => "srun",
        })
    }
}

/// Where this process stands among the ranks of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// What said so.
    pub launcher: Launcher,
    /// This rank, from 0.
    pub rank: usize,
    /// How many ranks there are.
    pub world: usize,
    /// This rank among those on its node, from 0.
    pub local_rank: usize,
    /// How many ranks there are on this node.
    pub local_world: usize,
}

/// The variables of a launcher, or the devices of a node, are invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// Some of a launcher's variables are there and others are not.
    #[error(
        "{launcher} set {} but not {}, so this rank does not know its place; pass the launcher's variables on to \
         the program, or unset all of them for one process alone", .present.join(", "), .missing.join(", ")
    )]
    Missing {
        /// The launcher.
        launcher: Launcher,
        /// Those that are there.
        present: Vec<&'static str>,
        /// Those that are not.
        missing: Vec<&'static str>,
    },
    /// A variable is not a number.
    #[error("{variable} is \"{value}\"; it must be a whole number, 0 or more")]
    NotANumber {
        /// The variable.
        variable: &'static str,
        /// What it is.
        value: String,
    },
    /// A rank that is outside of its world, or a node that is larger than the job.
    #[error(
        "{launcher} says {smaller} is {small} and {larger} is {large}, but the first has to be {relation} the second"
    )]
    OutOfRange {
        /// The launcher.
        launcher: Launcher,
        /// What has to be smaller.
        smaller: &'static str,
        /// Its value.
        small: usize,
        /// What it has to be smaller than.
        larger: &'static str,
        /// Its value.
        large: usize,
        /// `less than`, or `at most`.
        relation: &'static str,
    },
    /// Two launchers say different things.
    #[error(
        "{first} says rank {} of {}, but {second} says rank {} of {}; unset the variables of the one that did not \
         start this program", .first_says.0, .first_says.1, .second_says.0, .second_says.1
    )]
    Contradiction {
        /// One.
        first: Launcher,
        /// Its rank and world.
        first_says: (usize, usize),
        /// The other.
        second: Launcher,
        /// Its rank and world.
        second_says: (usize, usize),
    },
    /// A Slurm job of several tasks, of which this is not one.
    #[error(
        "this Slurm job has {tasks} tasks, but the program was started once by its script and not by srun; write \
         `srun smollm3 …`, or `srun --ntasks=1 smollm3 …` for one rank"
    )]
    NotByStep {
        /// SLURM_NTASKS.
        tasks: usize,
    },
    /// Fewer devices than ranks.
    #[error(
        "{local_world} ranks run on this node, but only {devices} devices are visible; start one rank a device \
         (`--ntasks-per-node={devices}`, `mpirun --npernode {devices}`), or show this rank more of them"
    )]
    Devices {
        /// Devices that this process sees.
        devices: usize,
        /// Ranks on the node.
        local_world: usize,
    },
}

/// The variables of one launcher: rank, world, local rank, local world.
const OPEN_MPI: [&str; 4] = [
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
];
const PMI: [&str; 4] = ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"];
const TORCHRUN: [&str; 4] = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"];
/// The last has an entry for each node, in Slurm's short form.
const SLURM: [&str; 4] = [
    "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_LOCALID",
    "SLURM_STEP_TASKS_PER_NODE",
];
/// What a process learns of PMIx by itself: its rank only.
const PMIX_RANK: &str = "PMIX_RANK";
/// Steps from here on are not srun's: a job's script, an interactive shell (slurm.h, `SLURM_BATCH_SCRIPT` and others).
const FIRST_SPECIAL_STEP: usize = 0xffff_fff0;

const LESS: &str = "less than";
const AT_MOST: &str = "at most";

type Variables = BTreeMap<String, String>;

impl Placement {
    /// Where a process alone stands.
    pub const ALONE: Self = Self {
        launcher: Launcher::None,
        rank: 0,
        world: 1,
        local_rank: 0,
        local_world: 1,
    };

    /// What this process's environment says.
    ///
    /// # Errors
    /// See [`LaunchError`].
    pub fn from_environment() -> Result<Self, LaunchError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        Self::from_variables(&std::env::vars_os().filter_map(text).collect())
    }

    /// What an environment says: a function of its variables alone.
    ///
    /// # Errors
    /// See [`LaunchError`].
    pub fn from_variables(variables: &Variables) -> Result<Self, LaunchError> {
        let torchrun = family(variables, Launcher::Torchrun, TORCHRUN);
        let pmi = family(variables, Launcher::Pmi, PMI);
        let open_mpi = family(variables, Launcher::OpenMpi, OPEN_MPI)?;
        let slurm = slurm(variables);

        if let Some(mpirun) = open_mpi.or(complete(&pmi)?) {
            return without_contradiction(mpirun, complete(&torchrun)?);
        }
        if let Some(torchrun) = complete(&torchrun)? {
            // torchrun itself says who it is; then a Slurm step is what started it, once a node.
            let inside_slurm = variables.contains_key("TORCHELASTIC_RUN_ID");
            let slurm = if inside_slurm { None } else { complete(&slurm)? };
            return without_contradiction(torchrun, slurm);
        }
        let pmix_rank = number(variables, PMIX_RANK)?;
        if let Some(step) = slurm? {
            let pmix = pmix_rank.map(|rank| Self {
                launcher: Launcher::Pmi,
                rank,
                ..step
            });
            return without_contradiction(step, pmix);
        }
        // Nothing is complete, so what there is of a launcher has lost its rest.
        pmi?;
        torchrun?;
        match pmix_rank {
            None => Ok(Self::ALONE),
            Some(_) => Err(LaunchError::Missing {
                launcher: Launcher::Pmi,
                present: vec![PMIX_RANK],
                missing: vec![OPEN_MPI[1], PMI[1]],
            }),
        }
    }

    /// The device of this rank among those that the process sees: each rank its own. A launcher that binds ranks to
    /// devices shows each one device only.
    ///
    /// # Errors
    /// No device, or several that are fewer than the ranks on this node.
    pub fn device(&self, devices: usize) -> Result<usize, LaunchError> {
        match devices {
            1 => Ok(0),
            _ if devices >= self.local_world => Ok(self.local_rank),
            _ => Err(LaunchError::Devices {
                devices,
                local_world: self.local_world,
            }),
        }
    }
}

/// What a launcher with these variables for rank, world, local rank and local world says; `None` if none is there.
fn family(
    variables: &Variables,
    launcher: Launcher,
    names: [&'static str; 4],
) -> Result<Option<Placement>, LaunchError> {
    let [rank, world, local_rank, local_world] = names.map(|name| number(variables, name));
    let values = [rank?, world?, local_rank?, local_world?];
    let [Some(rank), Some(world), Some(local_rank), Some(local_world)] = values else {
        let named = |there: bool| -> Vec<&'static str> {
            let pairs = names.into_iter().zip(values);
            pairs
                .filter(|(_, value)| value.is_some() == there)
                .map(|(name, _)| name)
                .collect()
        };
        let (present, missing) = (named(true), named(false));
        return if present.is_empty() {
            Ok(None)
        } else {
            Err(LaunchError::Missing {
                launcher,
                present,
                missing,
            })
        };
    };
    let order = |smaller: usize, larger: usize, relation: &'static str| {
        let (small, large) = (values[smaller].unwrap_or(0), values[larger].unwrap_or(0));
        let holds = small < large || (relation == AT_MOST && small == large);
        holds.then_some(()).ok_or(LaunchError::OutOfRange {
            launcher,
            smaller: names[smaller],
            small,
            larger: names[larger],
            large,
            relation,
        })
    };
    order(0, 1, LESS)?;
    order(2, 3, LESS)?;
    order(3, 1, AT_MOST)?;
    order(2, 0, AT_MOST)?;
    Ok(Some(Placement {
        launcher,
        rank,
        world,
        local_rank,
        local_world,
    }))
}

/// What srun says; `None` outside of Slurm, and in a job of one task that was started without srun.
fn slurm(variables: &Variables) -> Result<Option<Placement>, LaunchError> {
    let by_srun = number(variables, "SLURM_STEP_ID")?.is_some_and(|step| step < FIRST_SPECIAL_STEP);
    if !by_srun {
        return match number(variables, "SLURM_NTASKS")? {
            Some(tasks) if tasks > 1 => Err(LaunchError::NotByStep { tasks }),
            _ => Ok(None),
        };
    }
    let node = number(variables, "SLURM_NODEID")?;
    let per_node = variables.get(SLURM[3]).map(String::as_str);
    let local_world = node
        .zip(per_node)
        .and_then(|(node, text)| tasks_on_node(text, node));
    let mut with_local_world = variables.clone();
    match local_world {
        Some(count) => with_local_world.insert(SLURM[3].to_owned(), count.to_string()),
        None => with_local_world.remove(SLURM[3]),
    };
    family(&with_local_world, Launcher::Slurm, SLURM)
}

/// The entry of a node in Slurm's short form: `2(x3),1` is two tasks on each of three nodes and one on a fourth.
fn tasks_on_node(text: &str, node: usize) -> Option<usize> {
    let mut before = 0usize;
    for group in text.split(',') {
        let (tasks, times) = match group.split_once("(x") {
            Some((tasks, times)) => (tasks, times.strip_suffix(')')?.parse().ok()?),
            None => (group, 1),
        };
        before = before.checked_add(times)?;
        if node < before {
            return tasks.parse().ok();
        }
    }
    None
}

/// A launcher whose variables are all there; others are looked past.
fn complete(read: &Result<Option<Placement>, LaunchError>) -> Result<Option<Placement>, LaunchError> {
    match read {
        Err(LaunchError::Missing { .. } | LaunchError::NotByStep { .. }) => Ok(None),
        other => other.clone(),
    }
}

fn without_contradiction(first: Placement, second: Option<Placement>) -> Result<Placement, LaunchError> {
    match second {
        Some(second) if (second.rank, second.world) != (first.rank, first.world) => {
            Err(LaunchError::Contradiction {
                first: first.launcher,
                first_says: (first.rank, first.world),
                second: second.launcher,
                second_says: (second.rank, second.world),
            })
        }
        _ => Ok(first),
    }
}

fn number(variables: &Variables, variable: &'static str) -> Result<Option<usize>, LaunchError> {
    let Some(value) = variables.get(variable) else {
        return Ok(None);
    };
    value.parse().map(Some).map_err(|_| LaunchError::NotANumber {
        variable,
        value: value.clone(),
    })
}
