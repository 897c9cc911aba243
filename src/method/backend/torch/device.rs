//! What libtorch is, and what it finds on this machine.

/// How many GPUs libtorch can use.
pub fn gpus() -> usize {
    if tch::Cuda::is_available() { usize::try_from(tch::Cuda::device_count()).unwrap_or(0) } else { 0 }
}

/// The version of the library that is loaded, which need not be the one that was built against.
pub fn version() -> String {
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
        // What the folder that is linked from says of itself, if it does.
        let told = std::fs::read_to_string(concat!(env!("CNSDIFF_LIBTORCH_LIB"), "/../build-version"));
        let told = told.unwrap_or_else(|_| version());
        let expected = told.split('+').next().unwrap_or_default().trim();
        assert_eq!(version(), expected);
        assert!(expected.split('.').count() == 3 && expected.starts_with('2'), "{expected}");
    }
}
