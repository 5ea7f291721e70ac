//! The usual metrics of the process: processor time, memory, file descriptors and threads. Only Linux has them.

use std::fmt;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

/// `started` is from the clock: the kernel's start time counts from a boot time that only /proc/stat has, which systemd
/// hides from the host (`ProcSubset=pid`).
#[derive(Debug)]
pub(super) struct ProcessCollector {
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    started: SystemTime,
}

impl ProcessCollector {
    /// Creates the metrics of a process that starts now.
    pub(super) fn new() -> Self {
        Self { started: SystemTime::now() }
    }
}

#[cfg(not(target_os = "linux"))]
impl Collector for ProcessCollector {
    fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        use shared::metrics::{counter, gauge};

        let Ok(found) = ProcessStats::read() else { return Ok(()) }; // without /proc
        let help = "Processor time of the process, in user and system mode.";
        counter(&mut encoder, "process_cpu_seconds", help, found.cpu_seconds)?;
        let start_time =
            self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let gauges = [
            ("process_start_time_seconds", "Start of the process, in seconds since 1970.", start_time),
            ("process_resident_memory_bytes", "Resident memory.", found.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory.", found.virtual_bytes),
            ("process_open_fds", "Open file descriptors.", found.open_fds),
            ("process_max_fds", "Max open file descriptors.", found.max_fds),
            ("process_threads", "Threads of the operating system.", found.threads),
        ];
        for (name, help, value) in gauges {
            gauge(&mut encoder, name, help, value)?;
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
struct ProcessStats {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    open_fds: f64,
    max_fds: f64,
    threads: f64,
}

#[cfg(target_os = "linux")]
#[allow(clippy::cast_precision_loss)] // below 2^53
impl ProcessStats {
    fn read() -> procfs::ProcResult<Self> {
        use procfs::WithCurrentSystemInfo;
        use procfs::process::{LimitValue, Process};

        let process = Process::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        let max_fds = match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(max) => max as f64,
            LimitValue::Unlimited => f64::INFINITY,
        };
        Ok(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            resident_bytes: stat.rss_bytes().get() as f64,
            virtual_bytes: stat.vsize as f64,
            open_fds: process.fd_count()? as f64,
            max_fds,
            threads: stat.num_threads as f64,
        })
    }
}
