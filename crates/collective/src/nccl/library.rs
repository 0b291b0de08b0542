//! NCCL's library, found at run time.
//!
//! `cudarc` has NCCL's types, but opens only `libnccl.so` and names with CUDA's version, such as `libnccl.so.12`. PyTorch's
//! wheels, Debian and NVIDIA's packages install `libnccl.so.2`, after NCCL's own version, and `libnccl.so` only for those
//! who compile against it. So the few functions that are needed are bound here.

use std::env;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr;

use cudarc::nccl::sys::{cudaStream_t, ncclComm_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};

use super::refused;
use crate::{DeviceValues, Result};

const F32: ncclDataType_t = ncclDataType_t::ncclFloat32;
const SUM: ncclRedOp_t = ncclRedOp_t::ncclSum;
const SUCCESS: c_int = 0;
const IN_PROGRESS: c_int = 7;

/// As installed, and as a package for compiling adds it.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];
/// Where the wheel `nvidia-nccl-cu12` puts it, in the packages folder of LibTorch's wheel.
const IN_SITE_PACKAGES: &str = "nvidia/nccl/lib";

/// The functions of NCCL (user guide, "NCCL API"). Their results are read as numbers, since a newer library has more of them.
pub(super) struct Library {
    get_unique_id: unsafe extern "C" fn(*mut ncclUniqueId) -> c_int,
    comm_init_rank: unsafe extern "C" fn(*mut ncclComm_t, c_int, ncclUniqueId, c_int) -> c_int,
    comm_abort: unsafe extern "C" fn(ncclComm_t) -> c_int,
    reduce_scatter: unsafe extern "C" fn(
        *const c_void,
        *mut c_void,
        usize,
        ncclDataType_t,
        ncclRedOp_t,
        ncclComm_t,
        cudaStream_t,
    ) -> c_int,
    all_gather: unsafe extern "C" fn(
        *const c_void,
        *mut c_void,
        usize,
        ncclDataType_t,
        ncclComm_t,
        cudaStream_t,
    ) -> c_int,
    get_error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    /// Keeps them loaded.
    _library: libloading::Library,
}

impl Library {
    /// Opens what the system's loader finds under either name, or else a file in one of the usual places.
    ///
    /// # Errors
    /// There is none, with the names and places that were looked for; or one that cannot be used, with its path.
    pub fn open() -> std::result::Result<Self, String> {
        let folders = folders();
        let files = folders
            .iter()
            .flat_map(|folder| NAMES.map(|name| folder.join(name)));
        let files = files.filter(|file| file.exists());
        let mut faults = Vec::new();
        for file in NAMES.map(PathBuf::from).into_iter().chain(files) {
            // SAFETY: runs the library's initialisers, as any use of it does.
            match unsafe { libloading::Library::new(&file) } {
                Ok(library) => {
                    return Self::bind(library).map_err(|fault| format!("{}: {fault}", file.display()));
                }
                Err(fault) => faults.push(reason(&fault)),
            }
        }
        faults.dedup();
        let paths = env::var("LD_LIBRARY_PATH").unwrap_or_default();
        let folders: Vec<String> = folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        Err(format!(
            "there is no NCCL: looked for {} in LD_LIBRARY_PATH ({paths}), in the system's folders and in [{}]; {}. PyTorch's \
             wheels and Debian's libnccl2 bring it; put its folder into LD_LIBRARY_PATH",
            NAMES.join(" and "),
            folders.join(", "),
            faults.join("; ")
        ))
    }

    fn bind(library: libloading::Library) -> std::result::Result<Self, String> {
        fn function<F: Copy>(library: &libloading::Library, name: &str) -> std::result::Result<F, String> {
            // SAFETY: the types are those of nccl.h, unchanged since NCCL 2.4.
            let found = unsafe { library.get::<F>(name) };
            found.map(|function| *function).map_err(|fault| reason(&fault))
        }
        Ok(Self {
            get_unique_id: function(&library, "ncclGetUniqueId")?,
            comm_init_rank: function(&library, "ncclCommInitRank")?,
            comm_abort: function(&library, "ncclCommAbort")?,
            reduce_scatter: function(&library, "ncclReduceScatter")?,
            all_gather: function(&library, "ncclAllGather")?,
            get_error_string: function(&library, "ncclGetErrorString")?,
            _library: library,
        })
    }

    /// An id that ranks can join under.
    ///
    /// # Errors
    /// NCCL refuses.
    pub fn unique_id(&self) -> Result<ncclUniqueId> {
        let mut id = ncclUniqueId { internal: [0; 128] };
        // SAFETY: the pointer is to a local.
        self.check("make an id", unsafe { (self.get_unique_id)(&mut id) })?;
        Ok(id)
    }

    /// This rank's part of a new communicator, on the device that is current on this thread. Waits for the other ranks.
    ///
    /// # Errors
    /// NCCL refuses.
    pub fn join(&self, world: usize, id: ncclUniqueId, rank: usize) -> Result<ncclComm_t> {
        let mut communicator = ptr::null_mut();
        // SAFETY: the pointer is to a local, and the id came from NCCL.
        let result = unsafe { (self.comm_init_rank)(&mut communicator, world as c_int, id, rank as c_int) };
        self.check("join the ranks", result)?;
        Ok(communicator)
    }

    /// Puts a sum of all shards on the stream, each into that of its owner.
    ///
    /// # Errors
    /// NCCL refuses.
    ///
    /// # Safety
    /// The values are on this rank's device until the stream has come past the operation; communicator and stream are live.
    pub unsafe fn reduce_scatter(
        &self,
        values: DeviceValues,
        rank: usize,
        communicator: ncclComm_t,
        stream: cudaStream_t,
    ) -> Result<()> {
        let (all, own) = (at(values, 0), at(values, rank));
        // SAFETY: the caller's promise. NCCL works in place where a rank's own shard is given as output.
        let result = unsafe { (self.reduce_scatter)(all, own, values.shard, F32, SUM, communicator, stream) };
        self.check("sum", result)
    }

    /// Puts a gathering of all shards on the stream.
    ///
    /// # Errors
    /// NCCL refuses.
    ///
    /// # Safety
    /// As for [`reduce_scatter`](Self::reduce_scatter).
    pub unsafe fn all_gather(
        &self,
        values: DeviceValues,
        rank: usize,
        communicator: ncclComm_t,
        stream: cudaStream_t,
    ) -> Result<()> {
        let (all, own) = (at(values, 0), at(values, rank));
        // SAFETY: as above, with a rank's own shard as input.
        let result = unsafe { (self.all_gather)(own, all, values.shard, F32, communicator, stream) };
        self.check("gather", result)
    }

    /// Ends a communicator without waiting for what it was given.
    ///
    /// # Safety
    /// The communicator is live, and is not used again.
    pub unsafe fn abort(&self, communicator: ncclComm_t) {
        // SAFETY: the caller's promise. There is no use in reporting an error here.
        let _ = unsafe { (self.comm_abort)(communicator) };
    }

    fn check(&self, action: &'static str, result: c_int) -> Result<()> {
        if matches!(result, SUCCESS | IN_PROGRESS) {
            return Ok(());
        }
        // SAFETY: NCCL returns a static string.
        let text = unsafe { CStr::from_ptr((self.get_error_string)(result)) };
        Err(refused(action, text.to_string_lossy().into_owned()))
    }
}

/// Where the shard of a rank begins.
fn at(values: DeviceValues, rank: usize) -> *mut c_void {
    (values.address + (rank * values.shard * size_of::<f32>()) as u64) as *mut c_void
}

/// What the loader says.
fn reason(fault: &libloading::Error) -> String {
    match fault {
        libloading::Error::DlOpen { source } | libloading::Error::DlSym { source } => source.to_string(),
        other => other.to_string(),
    }
}

/// Folders that may hold it and that the loader does not know: LibTorch's, its neighbour in Python's packages, and the
/// packages of Python environments.
fn folders() -> Vec<PathBuf> {
    let environment = |name: &str| env::var_os(name).map(PathBuf::from);
    let mut folders: Vec<PathBuf> = environment("LIBTORCH")
        .map(|folder| folder.join("lib"))
        .into_iter()
        .collect();
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mapped = maps.lines().filter_map(|line| line.split_once('/'));
    if let Some((_, torch)) = mapped.into_iter().find(|(_, path)| path.contains("/libtorch_")) {
        folders.extend(Path::new("/").join(torch).parent().map(Path::to_owned));
    }
    let packages: Vec<PathBuf> = folders
        .iter()
        .map(|folder| folder.join("../..").join(IN_SITE_PACKAGES))
        .collect();
    folders.extend(packages);
    for prefix in ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .into_iter()
        .filter_map(environment)
    {
        let lib = prefix.join("lib");
        let versions = fs::read_dir(&lib)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        let packages = versions.map(|python| python.join("site-packages").join(IN_SITE_PACKAGES));
        folders.extend(packages.filter(|folder| folder.is_dir()));
        folders.push(lib);
    }
    folders
}
