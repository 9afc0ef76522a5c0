//! The product's brief's tables, as it has them, and which figure of ours stands beside each of its own.

use super::cell::Cell;
use crate::suite::benchmark::Benchmark::{Concurrent, Lifecycle, Phases, Startup};
use crate::suite::record::TOTAL;
use crate::suite::stored::Level::{Most, One};

/// A table whose lines are targets: below each of the brief's stand ours.
pub struct ByTarget {
    /// Its heading.
    pub title: &'static str,
    /// The columns, the target's first.
    pub columns: &'static [&'static str],
    /// The brief's lines, and the target of ours that is the nearest.
    pub lines: &'static [(&'static [&'static str], &'static str)],
    /// Our figures, for the columns after the first.
    pub cells: &'static [Cell],
    /// Whether all other targets that were measured follow.
    pub has_others: bool,
}

/// A table whose lines are figures: beside the brief's stand ours.
pub struct ByFigure {
    /// Its heading.
    pub title: &'static str,
    /// The brief's columns, that of the figures' names first.
    pub columns: &'static [&'static str],
    /// Our targets, a column each.
    pub targets: &'static [&'static str],
    /// The brief's cells, and our figure.
    pub lines: &'static [(&'static [&'static str], Cell)],
}

/// Latency and throughput, the brief's first page.
pub const HEADLINE: ByTarget = ByTarget {
    title: "The headline numbers",
    columns: &["Backend", "Latency", "Throughput", "Isolation"],
    lines: &[
        (&["Hyperlight pool (Linux)", "<1 µs", "~3,300 RPS", "hypervisor + Wasm"], "hyperlight pool"),
        (
            &["Firecracker daemon (Linux)", "195 ms", "~5.1/s", "full VM (separate kernel)"],
            "firecracker pool",
        ),
        (&["Docker (macOS)", "~220 ms", "~4.5/s", "container (shared kernel)"], "docker@macos"),
        (&["Docker pool (Linux)", "~250 ms", "~4.0/s", "container (shared kernel)"], "docker pool"),
        (&["Podman (macOS)", "~300 ms", "~3.3/s", "container (rootless)"], "podman@macos"),
        (&["Podman (Linux)", "~310 ms", "~3.2/s", "container (rootless)"], "podman"),
        (&["Firecracker cold (Linux)", "800 ms", "~1.3/s", "full VM (separate kernel)"], "firecracker"),
        (&["Apple Containers (macOS 26+)", "~940 ms", "~1.1/s", "full VM (separate kernel)"], "apple"),
    ],
    cells: &[Cell::P50(Startup, TOTAL, One), Cell::Rate(Startup, One), Cell::Boundary],
    has_others: true,
};

/// Where the time goes.
pub const PHASES: ByTarget = ByTarget {
    title: "Where the time goes",
    columns: &["Backend", "Boot", "Ready", "Exec", "Shutdown", "acquire", "residual", "total"],
    lines: &[
        (&["Hyperlight pool", "0 ms", "<1 µs", "<1 ms", "N/A", "", "", ""], "hyperlight pool"),
        (&["Firecracker daemon", "0 ms", "0 ms", "19 ms", "0 ms", "", "", ""], "firecracker pool"),
        (&["Firecracker cold", "78 ms", "110 ms", "19 ms", "20 ms", "", "", ""], "firecracker"),
        (&["Apple Containers", "860 ms", "860 ms", "95 ms", "37 ms", "", "", ""], "apple"),
    ],
    cells: &[
        Cell::P50(Phases, "boot", One),
        Cell::P50(Phases, "ready", One),
        Cell::P50(Phases, "exec", One),
        Cell::P50(Phases, "stop", One),
        Cell::P50(Phases, "acquire", One),
        Cell::P50(Phases, "residual", One),
        Cell::P50(Phases, TOTAL, One),
    ],
    has_others: true,
};

/// Virtual machines against containers.
pub const FIRECRACKER: ByFigure = ByFigure {
    title: "Firecracker vs Docker",
    columns: &["Metric", "Docker", "Firecracker"],
    targets: &["docker", "firecracker", "oci"],
    lines: &[
        (&["Process start", "40 ms", "46 ms"], Cell::P50(Phases, "boot", One)),
        (&["Instance ready", "155 ms", "110 ms"], Cell::P50(Phases, "ready", One)),
        (&["Command execution", "53 ms", "19 ms"], Cell::P50(Phases, "exec", One)),
        (&["Shutdown", "130 ms", "20 ms"], Cell::P50(Phases, "stop", One)),
        (&["Memory per instance", "~50-100 MB", "<10 MB"], Cell::Memory),
    ],
};

/// The fastest one of the brief, beside our own tier of Wasm.
pub const HYPERLIGHT: ByFigure = ByFigure {
    title: "Hyperlight",
    columns: &["Metric", "Hyperlight"],
    targets: &["hyperlight", "hyperlight pool", "wasm", "wasm pool"],
    lines: &[
        (&["Cold startup", "68 ms (avg), 67 ms (p50)"], Cell::P50(Startup, TOTAL, One)),
        (&["Warm acquire", "0.2 µs (avg), <1 µs (p50)"], Cell::P50(Phases, "acquire", One)),
        (&["Function call", "<1 ms"], Cell::P50(Phases, "exec", One)),
        (&["100 concurrent requests", "0.03 s"], Cell::Batch(Concurrent, Most)),
    ],
};

/// Many at once.
pub const CONCURRENT: ByTarget = ByTarget {
    title: "Concurrent requests",
    columns: &["Backend", "100 concurrent", "RPS"],
    lines: &[
        (&["Hyperlight", "0.03 s", "~3,333"], "hyperlight pool"),
        (&["Docker", "8.4 s", "~12"], "docker"),
        (&["Podman", "18.2 s", "~5.5"], "podman"),
    ],
    cells: &[Cell::Batch(Concurrent, Most), Cell::Rate(Concurrent, Most)],
    has_others: true,
};

/// macOS.
pub const APPLE: ByFigure = ByFigure {
    title: "Apple Containers",
    columns: &["Metric", "Docker (macOS)", "Apple Containers"],
    targets: &["docker@macos", "apple"],
    lines: &[
        (&["Boot time", "~175 ms", "~860 ms"], Cell::P50(Phases, "boot", One)),
        (&["Full lifecycle", "~500 ms", "~940 ms"], Cell::P50(Lifecycle, TOTAL, One)),
        (&["Memory per instance", "~50 MB", "~100 MB+"], Cell::Memory),
    ],
};

/// Engines: what is warm beside what is cold.
pub const ENGINES: ByTarget = ByTarget {
    title: "Docker and Podman",
    columns: &["Backend", "Latency"],
    lines: &[
        (&["Docker (macOS, M3 Pro), cold 270 ms", "~220 ms"], "docker@macos"),
        (&["Podman (macOS, M3 Pro), cold 730 ms", "~300 ms"], "podman@macos"),
        (&["Podman (Linux, AMD EPYC), cold 350 ms", "~310 ms"], "podman"),
        (&["", ""], "podman pool"),
        (&["", ""], "podman itself"),
        (&["Docker (Linux, AMD EPYC), cold 550 ms", "~350 ms"], "docker"),
        (&["", ""], "docker pool"),
        (&["", ""], "docker itself"),
    ],
    cells: &[Cell::P50(Startup, TOTAL, One)],
    has_others: false,
};

/// What a pool brings.
pub const DAEMON: ByFigure = ByFigure {
    title: "Daemon mode",
    columns: &["Metric", "Ephemeral", "Daemon"],
    targets: &[
        "firecracker",
        "firecracker pool",
        "oci",
        "oci pool",
        "gvisor",
        "gvisor pool",
        "docker",
        "docker pool",
    ],
    lines: &[
        (&["One command", "800 ms", "195 ms"], Cell::P50(Startup, TOTAL, One)),
        (&["10 sequential", "8.0 s", "1.95 s"], Cell::Ten(Startup)),
    ],
};

/// The brief's three stress tests; each of ours is a whole life: create, exec, stop, rm.
pub const STRESS: [ByFigure; 3] = [
    ByFigure {
        title: "Stress: Docker (macOS), 10 parallel sandboxes",
        columns: &["Metric", "Docker (macOS)"],
        targets: &["docker itself", "docker", "oci"],
        lines: &[
            (&["Total time", "4.5 s"], Cell::All(Lifecycle, Most)),
            (&["Success rate", "100 %"], Cell::Success(Lifecycle, Most)),
            (&["Full lifecycle (avg)", "446 ms"], Cell::Mean(Lifecycle, TOTAL, Most)),
            (&["Create (avg)", "44 ms"], Cell::Mean(Lifecycle, "create", Most)),
            (&["Start (avg)", "174 ms"], Cell::Mean(Lifecycle, "start", Most)),
            (&["Exec (avg)", "83 ms"], Cell::Mean(Lifecycle, "exec", Most)),
            (&["Stop (avg)", "109 ms"], Cell::Mean(Lifecycle, "stop", Most)),
            (&["Remove (avg)", "41 ms"], Cell::Mean(Lifecycle, "rm", Most)),
        ],
    },
    ByFigure {
        title: "Stress: Docker (macOS), 10 cycles, one after the other",
        columns: &["Metric", "Docker (macOS)"],
        targets: &["docker itself", "docker", "oci"],
        lines: &[
            (&["Throughput", "1.8-2.0/s"], Cell::Rate(Lifecycle, One)),
            (&["p50 latency", "498 ms"], Cell::P50(Lifecycle, TOTAL, One)),
            (&["p95 latency", "702 ms"], Cell::P95(Lifecycle, One)),
            (&["p99 latency", "1028 ms"], Cell::P99(Lifecycle, One)),
        ],
    },
    ByFigure {
        title: "Stress: Docker (Linux), 100 cycles, many at once",
        columns: &["Metric", "Docker (Linux)"],
        targets: &["docker itself", "docker", "oci"],
        lines: &[
            (&["Total wall time", "119.4 s"], Cell::All(Lifecycle, Most)),
            (&["Success rate", "100 %"], Cell::Success(Lifecycle, Most)),
            (&["Avg lifecycle", "1,194 ms"], Cell::Mean(Lifecycle, TOTAL, Most)),
            (&["p50", "1,178 ms"], Cell::P50(Lifecycle, TOTAL, Most)),
            (&["p95", "1,458 ms"], Cell::P95(Lifecycle, Most)),
            (&["p99", "1,705 ms"], Cell::P99(Lifecycle, Most)),
            (&["Throughput", "0.84/s"], Cell::Rate(Lifecycle, Most)),
        ],
    },
];
