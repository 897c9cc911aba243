//! Where a training runs: the choice in the parameters against what there is.

use super::config::Device;
use crate::method::backend::{self, torch};

/// A GPU was asked for, and there is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`device: cuda` asks for a GPU, and libtorch finds none: {reason}; or write `device: auto`")]
pub struct NoGpu {
    reason: &'static str,
}

/// The device for `device`. `gpus` are the numbers of those that this training may use.
///
/// # Errors
/// `cuda` was asked for, and libtorch has none or none may be used.
pub fn choose(device: Device, gpus: &[usize]) -> Result<backend::Device, NoGpu> {
    let usable = torch::gpus() > 0;
    let gpu = gpus.first().filter(|_| usable);
    match (device, gpu) {
        (Device::Auto | Device::Cuda, Some(&gpu)) => Ok(backend::Device::Cuda(gpu)),
        (Device::Auto | Device::Cpu, _) => Ok(backend::Device::Cpu),
        (Device::Cuda, None) => Err(NoGpu {
            reason: if usable {
                "none of the machine's is given to this stage (see `CUDA_VISIBLE_DEVICES`)"
            } else {
                "build against a libtorch with CUDA (`LIBTORCH`) and check that `nvidia-smi` shows a GPU"
            },
        }),
    }
}

/// How the keys of trainings, and what these say of themselves, spell a device: with the version of libtorch where it is
/// libtorch that computes.
pub fn name(device: backend::Device) -> String {
    match device {
        backend::Device::Cpu => "cpu".to_owned(),
        backend::Device::Cuda(_) => format!("cuda, libtorch {}", torch::version()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_used_only_where_there_is_one() {
        assert_eq!(name(backend::Device::Cpu), "cpu");
        assert_eq!(name(backend::Device::Cuda(0)), format!("cuda, libtorch {}", torch::version()));
        assert_eq!(choose(Device::Cpu, &[0]), Ok(backend::Device::Cpu));
        assert_eq!(choose(Device::Auto, &[]), Ok(backend::Device::Cpu));
        let error = choose(Device::Cuda, &[]).unwrap_err().to_string();
        assert!(error.contains("finds none") && error.contains("`device: auto`"), "{error}");
        if torch::gpus() > 1 {
            assert_eq!(choose(Device::Auto, &[1]), Ok(backend::Device::Cuda(1)));
        }
    }
}
