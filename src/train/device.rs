//! Where a training runs: the choice in the parameters against what there is.

use super::config::Device;

/// A GPU was asked for, and there is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`device: cuda` asks for a GPU, and libtorch finds none: {reason}; or write `device: auto`")]
pub struct NoGpu {
    reason: &'static str,
}

/// How many GPUs libtorch can use.
pub fn count() -> usize {
    if tch::Cuda::is_available() { usize::try_from(tch::Cuda::device_count()).unwrap_or(0) } else { 0 }
}

/// The device of libtorch for `device`. `gpus` are the numbers of those that this training may use.
///
/// # Errors
/// `cuda` was asked for, and libtorch has none or none may be used.
pub fn choose(device: Device, gpus: &[usize]) -> Result<tch::Device, NoGpu> {
    let gpu = gpus.first().filter(|_| tch::Cuda::is_available());
    match (device, gpu) {
        (Device::Auto | Device::Cuda, Some(&gpu)) => Ok(tch::Device::Cuda(gpu)),
        (Device::Auto | Device::Cpu, _) => Ok(tch::Device::Cpu),
        (Device::Cuda, None) => Err(NoGpu {
            reason: if tch::Cuda::is_available() {
                "none of the machine's is given to this stage (see `CUDA_VISIBLE_DEVICES`)"
            } else {
                "build against a libtorch with CUDA (`LIBTORCH`) and check that `nvidia-smi` shows a GPU"
            },
        }),
    }
}

/// How the keys of trainings, and what these say of themselves, spell a device: with the version of libtorch where it is
/// libtorch that computes.
pub fn name(device: tch::Device) -> String {
    match device {
        tch::Device::Cpu => "cpu".to_owned(),
        _ => format!("cuda, libtorch {}", libtorch_version()),
    }
}

/// The version of the library that is loaded, which need not be the one that was built against.
fn libtorch_version() -> String {
    unsafe extern "C" {
        /// Part of libtorch's stable C interface: the version in the highest bytes.
        safe fn aoti_torch_abi_version() -> u64;
    }
    let [major, minor, patch, ..] = aoti_torch_abi_version().to_be_bytes();
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_is_named_with_the_version_that_is_loaded() {
        assert_eq!(name(tch::Device::Cpu), "cpu");
        // What the folder that is linked from says of itself, if it does.
        let told = std::fs::read_to_string(concat!(env!("CNSDIFF_LIBTORCH_LIB"), "/../build-version"));
        let told = told.unwrap_or_else(|_| libtorch_version());
        let version = told.split('+').next().unwrap_or_default().trim();
        assert_eq!(name(tch::Device::Cuda(0)), format!("cuda, libtorch {version}"));
        assert!(version.split('.').count() == 3 && version.starts_with('2'), "{version}");
    }

    #[test]
    fn a_gpu_is_used_only_where_there_is_one() {
        assert_eq!(choose(Device::Cpu, &[0]), Ok(tch::Device::Cpu));
        assert_eq!(choose(Device::Auto, &[]), Ok(tch::Device::Cpu));
        let error = choose(Device::Cuda, &[]).unwrap_err().to_string();
        assert!(error.contains("finds none") && error.contains("`device: auto`"), "{error}");
        if tch::Cuda::is_available() {
            assert_eq!(choose(Device::Auto, &[1]), Ok(tch::Device::Cuda(1)));
        }
    }
}
