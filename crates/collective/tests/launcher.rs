//! Ranks from the variables of each launcher, and what is refused.

use std::collections::BTreeMap;

use smollm3_collective::{LaunchError, Launcher, Placement};

/// Variables written as `NAME=value`, separated by spaces.
fn read(text: &str) -> Result<Placement, LaunchError> {
    let variable = |word: &str| {
        let (name, value) = word.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    Placement::from_variables(&text.split_whitespace().map(variable).collect::<BTreeMap<_, _>>())
}

#[track_caller]
fn is(text: &str, launcher: Launcher, rank: usize, world: usize, local_rank: usize, local_world: usize) {
    let expected = Placement {
        launcher,
        rank,
        world,
        local_rank,
        local_world,
    };
    assert_eq!(read(text), Ok(expected));
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = read(text).unwrap_err().to_string();
    assert!(error.starts_with(message), "{error}");
}

const MPIRUN: &str = "OMPI_COMM_WORLD_RANK=5 OMPI_COMM_WORLD_SIZE=8 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=4 PMIX_RANK=5";
const HYDRA: &str = "PMI_RANK=5 PMI_SIZE=8 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=4";
const TORCHRUN: &str = "RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4";
const SRUN: &str = "SLURM_JOB_ID=9 SLURM_STEP_ID=0 SLURM_PROCID=5 SLURM_STEP_NUM_TASKS=8 SLURM_NTASKS=8 SLURM_LOCALID=1 \
                    SLURM_NODEID=1 SLURM_STEP_TASKS_PER_NODE=4(x2)";

#[test]
fn every_launcher_is_read() {
    is(MPIRUN, Launcher::OpenMpi, 5, 8, 1, 4);
    is(HYDRA, Launcher::Pmi, 5, 8, 1, 4);
    is(TORCHRUN, Launcher::Torchrun, 5, 8, 1, 4);
    is(SRUN, Launcher::Slurm, 5, 8, 1, 4);
    assert_eq!(read("HOME=/root PATH=/bin"), Ok(Placement::ALONE));
}

#[test]
fn the_innermost_launcher_is_believed() {
    // mpirun's daemon is a task of a step, and so its variables say.
    let daemon = "SLURM_STEP_ID=1 SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2 SLURM_LOCALID=0 SLURM_NODEID=0 \
                  SLURM_STEP_TASKS_PER_NODE=1(x2) SLURM_NTASKS=8";
    for inner in [MPIRUN, HYDRA] {
        assert_eq!(read(&format!("{inner} {daemon}")), read(inner));
    }
    assert_eq!(
        read(&format!("{TORCHRUN} TORCHELASTIC_RUN_ID=x {daemon}")),
        read(TORCHRUN)
    );
    // In a job's script, before any step.
    assert_eq!(
        read(&format!("{MPIRUN} SLURM_NTASKS=8 SLURM_PROCID=0")),
        read(MPIRUN)
    );
    // srun with PMI-2 and with PMIx.
    assert_eq!(read(&format!("{SRUN} PMI_RANK=5 PMI_SIZE=8")), read(SRUN));
    assert_eq!(read(&format!("{SRUN} PMIX_RANK=5")), read(SRUN));
    assert_eq!(read(&format!("{SRUN} WORLD_SIZE=8")), read(SRUN));
}

#[test]
fn tasks_of_uneven_nodes_are_counted() {
    let on_node = |node: usize, tasks: &str| {
        let text = SRUN
            .replace("NODEID=1", &format!("NODEID={node}"))
            .replace("4(x2)", tasks);
        read(&text).map(|placement| placement.local_world)
    };
    assert_eq!(on_node(0, "2(x3),8,3(x2)"), Ok(2));
    assert_eq!(on_node(2, "2(x3),8,3(x2)"), Ok(2));
    assert_eq!(on_node(3, "2(x3),8,3(x2)"), Ok(8));
    assert_eq!(on_node(5, "2(x3),8,3(x2)"), Ok(3));
    for broken in ["2(x3", "4(x1)", "", "4(xy)", "x"] {
        assert!(
            matches!(on_node(1, broken), Err(LaunchError::Missing { .. })),
            "{broken}"
        );
    }
}

#[test]
fn a_launcher_without_its_variables_is_refused() {
    refused(
        "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_LOCAL_RANK=1",
        "mpirun (Open MPI) set OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_LOCAL_RANK but not OMPI_COMM_WORLD_SIZE, \
         OMPI_COMM_WORLD_LOCAL_SIZE, so this rank does not know its place",
    );
    refused(
        "WORLD_SIZE=4",
        "torchrun set WORLD_SIZE but not RANK, LOCAL_RANK, LOCAL_WORLD_SIZE",
    );
    refused(
        "PMI_RANK=0 PMI_SIZE=2",
        "mpirun (PMI) set PMI_RANK, PMI_SIZE but not MPI_LOCALRANKID",
    );
    refused("PMIX_RANK=3", "mpirun (PMI) set PMIX_RANK but not");
    refused(
        "SLURM_STEP_ID=0 SLURM_PROCID=0",
        "srun set SLURM_PROCID but not SLURM_STEP_NUM_TASKS",
    );
}

#[test]
fn what_cannot_be_is_refused() {
    refused(
        &MPIRUN.replace("RANK=5", "RANK=8"),
        "mpirun (Open MPI) says OMPI_COMM_WORLD_RANK is 8 and OMPI_COMM_WORLD_SIZE is 8",
    );
    refused(
        &TORCHRUN.replace("LOCAL_RANK=1", "LOCAL_RANK=4"),
        "torchrun says LOCAL_RANK is 4 and LOCAL_WORLD_SIZE is 4",
    );
    refused(
        &HYDRA.replace("NRANKS=4", "NRANKS=9"),
        "mpirun (PMI) says MPI_LOCALNRANKS is 9 and PMI_SIZE is 8, but the first has to be at most",
    );
    refused(
        "RANK=0 WORLD_SIZE=2 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2",
        "torchrun says LOCAL_RANK is 1 and RANK is 0",
    );
    refused("RANK=-1", "RANK is \"-1\"; it must be a whole number, 0 or more");
    refused(
        &MPIRUN.replace("SIZE=8", "SIZE=many"),
        "OMPI_COMM_WORLD_SIZE is \"many\"",
    );
}

#[test]
fn launchers_that_contradict_each_other_are_refused() {
    refused(
        &format!("{MPIRUN} {}", TORCHRUN.replace("RANK=5", "RANK=4")),
        "mpirun (Open MPI) says rank 5 of 8, but torchrun says rank 4 of 8",
    );
    refused(
        &format!("{SRUN} {}", TORCHRUN.replace("SIZE=8", "SIZE=16")),
        "torchrun says rank 5 of 16, but srun says rank 5 of 8",
    );
    refused(
        &format!("{SRUN} PMIX_RANK=2"),
        "srun says rank 5 of 8, but mpirun (PMI) says rank 2 of 8",
    );
    assert_eq!(read(&format!("{MPIRUN} {TORCHRUN}")), read(MPIRUN));
}

#[test]
fn a_job_of_several_tasks_needs_srun() {
    let script = "SLURM_JOB_ID=9 SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0";
    refused(
        script,
        "this Slurm job has 4 tasks, but the program was started once by its script",
    );
    // An interactive shell is a step of a kind of its own.
    refused(
        &format!("{script} SLURM_STEP_ID=4294967290 SLURM_STEP_NUM_TASKS=1"),
        "this Slurm job has 4 tasks",
    );
    assert_eq!(
        read("SLURM_JOB_ID=9 SLURM_NTASKS=1 SLURM_PROCID=0"),
        Ok(Placement::ALONE)
    );
    assert_eq!(
        read(&format!("{script} {TORCHRUN} TORCHELASTIC_RUN_ID=x")),
        read(TORCHRUN)
    );
}

#[test]
fn each_rank_has_a_device_of_its_own() {
    let placement = read(MPIRUN).unwrap();
    assert_eq!(placement.device(4), Ok(1));
    assert_eq!(placement.device(8), Ok(1));
    assert_eq!(placement.device(1), Ok(0), "bound by the launcher");
    let error = placement.device(2).unwrap_err().to_string();
    assert!(
        error.starts_with("4 ranks run on this node, but only 2 devices are visible"),
        "{error}"
    );
    assert!(placement.device(0).is_err());
    assert!(Placement::ALONE.device(0).is_err());
    assert_eq!(Placement::ALONE.device(8), Ok(0));
}

#[cfg(not(feature = "mpi"))]
#[test]
fn several_ranks_without_mpi_are_refused() {
    let limit = std::time::Duration::from_secs(1);
    let error = smollm3_collective::start(&read(MPIRUN).unwrap(), limit)
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        error,
        "mpirun (Open MPI) started 8 ranks, but this program was built without MPI, so each would work alone; build \
         it with `--features mpi`, or start it once"
    );
    assert_eq!(
        smollm3_collective::start(&Placement::ALONE, limit)
            .unwrap()
            .world(),
        1
    );
}
