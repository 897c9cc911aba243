//! How much memory this process may still take: what the system has free, or less where a control group that it is in
//! allows less. Groups are nested (Slurm, systemd, containers), and each limits those in it.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// How a version of control groups is laid out.
struct Layout {
    /// Where the hierarchy is mounted.
    mounts: &'static [&'static str],
    limits: &'static [&'static str],
    used: &'static str,
    /// Field of `memory.stat` for file pages that the system takes back when it needs memory: they count as used, but
    /// stand in nobody's way.
    reclaimable: &'static str,
}

static VERSION_1: Layout = Layout {
    mounts: &["sys/fs/cgroup/memory"],
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};

static VERSION_2: Layout = Layout {
    mounts: &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    reclaimable: "inactive_file",
};

/// In MiB; `None` where it cannot be found out. `root` is `/`, but for tests.
pub(super) fn available_mib(root: &Path) -> Option<u64> {
    let system = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let system = field(&system, "MemAvailable:")? * 1024;
    let allowed = groups(root).iter().filter_map(|(layout, group)| allowed(layout, group)).min();
    Some(allowed.map_or(system, |allowed| allowed.min(system)) >> 20)
}

/// The groups of this process that can limit its memory, with those around them.
fn groups(root: &Path) -> Vec<(&'static Layout, PathBuf)> {
    let member = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_else(|_| "1:memory:/\n0::/\n".to_owned());
    let mut groups = Vec::new();
    for line in member.lines() {
        // Number of the hierarchy, its controllers, and the group in it.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let layout = match controllers {
            "" => &VERSION_2,
            _ if controllers.split(',').any(|controller| controller == "memory") => &VERSION_1,
            _ => continue,
        };
        // Seen from a namespace of its own, a group may be above what is mounted. In a container, the mount is the
        // container's group, and the path, which is the host's, leads nowhere below it.
        let group = Path::new(group.trim_start_matches('/'));
        let below = group.components().all(|component| matches!(component, Component::Normal(_)));
        for around in if below { group } else { Path::new("") }.ancestors() {
            groups.extend(layout.mounts.iter().map(|mount| (layout, root.join(mount).join(around))));
        }
    }
    groups
}

/// Bytes that a group still allows; `None` where it is not there or sets no limit.
fn allowed(layout: &Layout, group: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = layout.limits.iter().filter_map(|name| number(name)).min()?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let used = number(layout.used)?.saturating_sub(field(&stat, layout.reclaimable).unwrap_or(0));
    Some(limit.saturating_sub(used))
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut words =
        text.lines().map(str::split_whitespace).find_map(|mut words| (words.next()? == name).then_some(words))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 GiB free, and what is given of control groups: file and content, in MiB where it is a number.
    fn available(member: &str, files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal:       99999999 kB\nMemAvailable:   67108864 kB\n");
        write("proc/self/cgroup", member);
        for (path, text) in files {
            let bytes = |word: &str| word.parse::<u64>().map_or(word.to_owned(), |mib| (mib << 20).to_string());
            let lines = text.lines().map(|line| line.split(' ').map(bytes).collect::<Vec<_>>().join(" ") + "\n");
            write(&format!("sys/fs/cgroup/{path}"), &lines.collect::<String>());
        }
        available_mib(root.path()).unwrap()
    }

    #[test]
    fn no_limit_leaves_what_the_system_has() {
        assert_eq!(available("0::/\n", &[]), 65536);
        assert_eq!(available("", &[("memory.max", "1"), ("memory.current", "0")]), 65536);
        assert_eq!(available("0::/a\n", &[("a/memory.max", "max"), ("a/memory.current", "5000")]), 65536);
        let unlimited = [("memory/a/memory.limit_in_bytes", "8796093022207"), ("memory/a/memory.usage_in_bytes", "7")];
        assert_eq!(available("3:cpu,memory:/a\n", &unlimited), 65536);
    }

    #[test]
    fn smallest_of_nested_groups_counts() {
        let nested = [
            ("user.slice/memory.max", "8000"),
            ("user.slice/memory.current", "5000"),
            ("user.slice/run.scope/memory.max", "4000"),
            ("user.slice/run.scope/memory.current", "500"),
        ];
        assert_eq!(available("0::/user.slice/run.scope\n", &nested), 3000);
        assert_eq!(available("0::/user.slice/run.scope\n", &nested[2..]), 3500);
        assert_eq!(available("0::/user.slice\n", &nested[2..]), 65536);
    }

    #[test]
    fn pressure_limit_counts_and_reclaimable_pages_do_not() {
        let files = [("memory.max", "9000"), ("memory.high", "6000"), ("memory.current", "5500")];
        assert_eq!(available("0::/\n", &files), 500);
        let cached = [&files[..], &[("memory.stat", "anon 500\ninactive_file 4000")]].concat();
        assert_eq!(available("0::/\n", &cached), 4500);
    }

    #[test]
    fn version_1_counts_beside_an_empty_version_2() {
        let job = "slurm/uid_1/job_2";
        let files = [
            (format!("memory/{job}/memory.limit_in_bytes"), "2000"),
            (format!("memory/{job}/memory.usage_in_bytes"), "1500"),
            ("memory/memory.limit_in_bytes".to_owned(), "8796093022207"),
            ("memory/memory.usage_in_bytes".to_owned(), "30000"),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        assert_eq!(available(&format!("9:memory:/{job}/step_0\n4:cpuset:/\n0::/\n"), &files), 500);
    }

    #[test]
    fn container_without_a_namespace_has_its_limit_at_the_mount() {
        let files = [("memory/memory.limit_in_bytes", "512"), ("memory/memory.usage_in_bytes", "12")];
        assert_eq!(available("9:memory:/docker/0123abc\n", &files), 500);
        let files = [("memory.max", "512"), ("memory.current", "112")];
        assert_eq!(available("0::/../../init.scope\n", &files), 400);
    }
}
