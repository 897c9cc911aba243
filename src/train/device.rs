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

/// How the keys of trainings, and what these say of themselves, spell a device.
pub fn name(device: tch::Device) -> String {
    match device {
        tch::Device::Cpu => "cpu".to_owned(),
        _ => "cuda".to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
