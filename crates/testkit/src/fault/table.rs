//! The faults, and which rule must notice each.

use super::expectation::{Expectation, expect};

/// What a [`super::FaultyBackend`] does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Words are joined and split again at spaces.
    SplitWords,
    /// A variable of the host's is inherited.
    InheritEnvironment,
    /// Every command starts in the workspace.
    IgnoreFolder,
    /// Every failure is exit code 1.
    WrongExitCode,
    /// A death by signal is told as an exit code.
    SignalAsCode,
    /// A missing program is told as an exit code.
    MissingProgramRuns,
    /// A file that cannot be executed is said to be missing.
    WrongKindOfRefusal,
    /// A command whose folder is missing starts elsewhere.
    MissingFolderIsIgnored,
    /// A command waits until the one before it has ended.
    OneAtATime,
    /// The PID is another's.
    WrongPid,
    /// Every command runs as the sandbox's user.
    IgnoreUser,
    /// Usage is not told.
    UsageIsZero,
    /// No signal arrives.
    SignalsAreLost,
    /// A signal to the group reaches one process.
    GroupSignalsReachOne,
    /// Signal 9 does not arrive.
    KillIsLost,
    /// A dropped command runs on.
    DropSpares,
    /// What is said after the end is an error.
    LateWordsFail,
    /// Stderr is told as stdout.
    MergeStreams,
    /// One byte of output is lost.
    LoseByte,
    /// Output ends after some MiB.
    TruncateSilently,
    /// Empty output is told.
    EmptyOutput,
    /// The end is told as often as it is asked for.
    TellTheEndTwice,
    /// A command without stdin waits for it.
    StdinNeverEnds,
    /// Closing stdin has no effect.
    CloseIsLost,
    /// An end is told once every other command has ended.
    OneReaderStopsAll,
    /// An end is told once the command's whole group has ended.
    WaitForTheGroup,
    /// Writing to an ended command waits for ever.
    WritingNeverEnds,
    /// There is no terminal.
    NoTerminal,
    /// Every terminal is 80 by 24.
    WrongSize,
    /// A new size does not arrive.
    ResizeIsLost,
    /// Control characters do not arrive.
    ControlIsLost,
    /// Nothing that is written to stdin arrives.
    TypingIsLost,
    /// A byte of what is written to a file is lost.
    FileLosesByte,
    /// Files are read from their beginning.
    IgnoreOffset,
    /// Every file can be written by everybody.
    IgnoreMode,
    /// Files lie where commands do not look.
    FilesElsewhere,
    /// Facts are those of a link's target.
    StatFollows,
    /// The old content is gone when the writing begins.
    WriteInPlace,
    /// A missing file is read as an empty one.
    MissingIsEmpty,
    /// Reading a pipe waits for ever.
    PipeBlocks,
    /// A device is read.
    DeviceIsRead,
    /// A relative path begins in the workspace.
    RelativeIsRooted,
    /// Entries of folders come in any order.
    ListUnsorted,
    /// Missing parents are made, asked for or not.
    ParentsAlways,
    /// A full folder is removed, asked for or not.
    RemoveAll,
    /// Renaming has no effect.
    RenameIsLost,
    /// Names become UTF-8.
    LossyNames,
    /// A byte in an archive is another.
    ArchiveIsCorrupt,
    /// Nothing is taken that follows the end of an archive.
    ArchiveEndsEarly,
    /// The folder above is packed.
    ArchiveOfTheParent,
    /// Unpacking writes outside its folder.
    ArchiveEscapes,
    /// Half an archive is taken for a whole one.
    BrokenArchiveIsTaken,
    /// A command's time is never up.
    IgnoreTimeout,
    /// A timeout is not told.
    TimeoutIsUntold,
    /// A timeout kills the first process alone.
    TimeoutKillsOneProcess,
    /// A timeout kills the process group alone.
    TimeoutKillsTheGroup,
    /// A sandbox lives for ever.
    LifetimeIsIgnored,
    /// The cause of an end is another.
    WrongCause,
    /// Commands run after the sandbox's end.
    CommandsAfterTheEnd,
    /// A backend that works says that it does not.
    ProbeLies,
    /// Boot returns before exec works.
    BootTooEarly,
    /// Boot is said to have taken an hour.
    WrongTimes,
    /// Pings are not answered.
    PingFails,
    /// Stop stops nothing.
    StopLeavesProcesses,
    /// Stop takes everything down, and says that it could not.
    StopFails,
    /// Dropping a sandbox leaves it running.
    DropLeavesProcesses,
    /// A boot that fails leaves a process.
    FailedBootLeaves,
    /// A mount that cannot be made is left out.
    MountIsIgnored,
    /// The command that is to be run once is not.
    WarmUpIsIgnored,
    /// Every boot leaves a file open.
    LeaksDescriptor,
    /// Commands that run when the sandbox is stopped never end.
    StopHidesTheEnd,
    /// A sandbox waits until the one before it has ended.
    OneSandboxAtATime,
    /// A sandbox has another's name.
    WrongName,
    /// A name is given twice.
    NameTakenTwice,
    /// A stopped sandbox is handed out again.
    ReuseAfterStop,
    /// All sandboxes are one.
    SharedSandbox,
    /// Memory is limited at far more.
    MemoryLimitIsIgnored,
    /// Processes are limited at far more.
    PidsLimitIsIgnored,
    /// Files are limited at far more.
    DiskLimitIsIgnored,
    /// Open files are limited at more.
    OpenFilesLimitIsIgnored,
    /// Processors are limited at more.
    CpuLimitIsIgnored,
    /// New limits of a live sandbox do not arrive.
    NewLimitsAreLost,
    /// Pausing has no effect.
    PauseIsLost,
    /// What was to persist does not.
    PersistIsLost,
    /// Every sandbox persists.
    PersistsAlways,
    /// Commands do not come back.
    CommandsAreLost,
    /// Whoever asks gets a sandbox, whoever holds it.
    TwoHolders,
    /// What comes back is not paused.
    AdoptionResumes,
    /// What goes on from a snapshot begins anew.
    SnapshotIsEmpty,
    /// A snapshot that is removed is still there.
    SnapshotsStay,
}

/// Every fault, with the rule that is named for it.
pub const EXPECTATIONS: &[Expectation] = &[
    expect(Fault::SplitWords, "exec.argv_arrives_word_by_word", "words:"),
    expect(Fault::InheritEnvironment, "exec.environment_is_exact", "CANARY"),
    expect(Fault::IgnoreFolder, "exec.starts_in_the_named_folder", "cwd Some"),
    expect(Fault::WrongExitCode, "exec.exit_code_is_exact", "ended with exit code 1, expected exit code 7"),
    expect(
        Fault::SignalAsCode,
        "exec.death_by_signal_is_exact",
        "ended with exit code 137, expected signal 9",
    ),
    expect(Fault::MissingProgramRuns, "exec.a_missing_program_is_told", "was not refused"),
    expect(
        Fault::WrongKindOfRefusal,
        "exec.a_program_that_cannot_be_executed_is_told",
        "found CommandNotFound",
    ),
    expect(Fault::MissingFolderIsIgnored, "exec.a_missing_folder_is_told", "was not refused"),
    expect(Fault::OneAtATime, "exec.fifty_run_at_once", "did not end"),
    expect(Fault::WrongPid, "exec.pid_is_the_commands_own", "PID:"),
    expect(Fault::IgnoreUser, "exec.a_named_user_is_obeyed_or_refused", "user and groups:"),
    expect(Fault::UsageIsZero, "exec.usage_is_told", "used 0ns"),
    expect(Fault::SignalsAreLost, "signals.reach_the_process", "did not end"),
    expect(Fault::GroupSignalsReachOne, "signals.reach_the_group", "did not end"),
    expect(Fault::KillIsLost, "signals.kill", "did not end"),
    expect(Fault::DropSpares, "signals.dropping_a_command_kills_it", "did not end"),
    expect(Fault::LateWordsFail, "signals.after_the_end_are_ignored", "it has ended"),
    expect(Fault::MergeStreams, "streams.stdout_and_stderr_are_separate", "stdout:"),
    expect(Fault::LoseByte, "streams.bytes_go_round_unchanged", "8388607 bytes"),
    expect(Fault::TruncateSilently, "streams.large_output_is_whole", "bytes of output:"),
    expect(Fault::EmptyOutput, "streams.no_output_is_empty", "an empty output"),
    expect(Fault::TellTheEndTwice, "streams.nothing_follows_the_end", "after the end came"),
    expect(Fault::StdinNeverEnds, "streams.without_stdin_it_ends_at_once", "did not end"),
    expect(Fault::CloseIsLost, "streams.closed_stdin_ends", "did not end"),
    expect(Fault::OneReaderStopsAll, "streams.unread_output_delays_nobody_else", "did not end"),
    expect(Fault::WaitForTheGroup, "streams.a_held_stdout_does_not_delay_the_end", "did not end"),
    expect(Fault::WritingNeverEnds, "streams.an_unread_stdin_does_not_delay_the_end", "did not end"),
    expect(Fault::NoTerminal, "terminal.is_one", "with a terminal"),
    expect(Fault::WrongSize, "terminal.has_its_size", "24 80"),
    expect(Fault::ResizeIsLost, "terminal.follows_its_size", "did not end"),
    expect(Fault::ControlIsLost, "terminal.control_c_interrupts", "did not end"),
    expect(Fault::TypingIsLost, "terminal.lines_go_in_and_out", "did not end"),
    expect(Fault::FileLosesByte, "files.content_comes_back", "content:"),
    expect(Fault::IgnoreOffset, "files.a_part_can_be_read", "from 5"),
    expect(Fault::IgnoreMode, "files.mode_is_kept", "mode:"),
    expect(Fault::FilesElsewhere, "files.commands_see_the_same", "ended with exit code 1"),
    expect(Fault::StatFollows, "files.stat_tells_the_facts", "link:"),
    expect(Fault::WriteInPlace, "files.replacing_is_atomic", "while it is written"),
    expect(Fault::MissingIsEmpty, "files.a_missing_file_is_told", "was not refused"),
    expect(Fault::PipeBlocks, "files.a_pipe_is_refused", "did not end"),
    expect(Fault::DeviceIsRead, "files.a_device_is_refused", "was not refused"),
    expect(Fault::RelativeIsRooted, "files.relative_paths_are_refused", "path \"file\""),
    expect(Fault::ListUnsorted, "folders.are_listed_in_order", "not sorted"),
    expect(Fault::ParentsAlways, "folders.parents_are_made_if_asked", "was not refused"),
    expect(Fault::RemoveAll, "folders.are_removed_with_content_if_asked", "was not refused"),
    expect(Fault::RenameIsLost, "folders.renaming_moves", "content:"),
    expect(Fault::LossyNames, "folders.names_are_bytes", "name "),
    expect(Fault::ArchiveIsCorrupt, "archives.go_round_unchanged", "the copy"),
    expect(Fault::ArchiveEndsEarly, "archives.are_read_to_their_last_byte", "ended before"),
    expect(Fault::ArchiveOfTheParent, "archives.are_tar", "names:"),
    expect(Fault::ArchiveEscapes, "archives.cannot_leave_their_folder", "dots:"),
    expect(Fault::BrokenArchiveIsTaken, "archives.a_broken_one_is_told", "was not refused"),
    expect(Fault::IgnoreTimeout, "time.a_timeout_kills_and_says_so", "did not end"),
    expect(Fault::TimeoutIsUntold, "time.a_timeout_kills_and_says_so", "does not say"),
    expect(Fault::TimeoutKillsOneProcess, "time.a_timeout_kills_children", "did not end"),
    expect(Fault::TimeoutKillsTheGroup, "time.a_timeout_kills_other_sessions", "did not end"),
    expect(Fault::TimeoutKillsTheGroup, "time.a_timeout_kills_orphans", "did not end"),
    expect(Fault::LifetimeIsIgnored, "time.a_lifetime_ends_the_sandbox", "did not end"),
    expect(Fault::WrongCause, "time.a_lifetime_ends_the_sandbox", "cause:"),
    expect(Fault::CommandsAfterTheEnd, "time.no_command_starts_after_the_end", "was not refused"),
    expect(Fault::ProbeLies, "lifecycle.probe_says_that_it_works", "believe it"),
    expect(Fault::BootTooEarly, "lifecycle.boot_returns_when_exec_works", "not ready yet"),
    expect(Fault::WrongTimes, "lifecycle.boot_tells_its_times", "boot took 36"),
    expect(Fault::PingFails, "lifecycle.ping_answers", "no answer"),
    expect(Fault::PingFails, "limits.a_fork_bomb_is_bounded", "no answer"),
    expect(Fault::StopLeavesProcesses, "lifecycle.stop_leaves_nothing", "left on the host"),
    expect(Fault::StopFails, "lifecycle.stop_leaves_nothing", "failed on purpose"),
    expect(Fault::DropLeavesProcesses, "lifecycle.drop_leaves_nothing", "left on the host"),
    expect(Fault::FailedBootLeaves, "lifecycle.a_failed_boot_leaves_nothing", "left on the host"),
    expect(Fault::MountIsIgnored, "lifecycle.a_failed_boot_leaves_nothing", "it booted"),
    expect(Fault::WarmUpIsIgnored, "lifecycle.a_warm_up_has_run_once", "what it has left"),
    expect(Fault::LeaksDescriptor, "lifecycle.twenty_cycles_leave_nothing", "/dev/null"),
    expect(Fault::StopHidesTheEnd, "lifecycle.stop_ends_running_commands", "did not end"),
    expect(Fault::OneSandboxAtATime, "lifecycle.ten_live_at_once", "did not end"),
    expect(Fault::WrongName, "names.are_told_truly", "name:"),
    expect(Fault::NameTakenTwice, "names.are_taken_once", "was not refused"),
    expect(Fault::ReuseAfterStop, "names.used_again_start_clean", "files of the second"),
    expect(Fault::SharedSandbox, "names.siblings_share_no_file", "files of the other"),
    expect(Fault::MemoryLimitIsIgnored, "limits.memory", "200 MiB were held"),
    expect(Fault::MemoryLimitIsIgnored, "limits.memory_holds_tmpfs", "200 MiB lay"),
    expect(Fault::PidsLimitIsIgnored, "limits.pids", "children ran"),
    expect(Fault::DiskLimitIsIgnored, "limits.disk", "took 12 MiB"),
    expect(Fault::DiskLimitIsIgnored, "limits.file_size", "done, where"),
    expect(Fault::OpenFilesLimitIsIgnored, "limits.open_files", "512 2048"),
    expect(Fault::CpuLimitIsIgnored, "limits.cpus", "half a processor was"),
    expect(Fault::NewLimitsAreLost, "resize.memory", "200 MiB were held"),
    expect(Fault::NewLimitsAreLost, "resize.cpus", "half a processor was"),
    expect(Fault::PauseIsLost, "life.pause_stops_time", "time goes on"),
    expect(Fault::PersistIsLost, "life.what_persists_outlives_its_holder", "NoSuchSandbox"),
    expect(Fault::CommandsAreLost, "life.what_persists_outlives_its_holder", "did not come back"),
    expect(Fault::PersistsAlways, "life.what_does_not_persist_ends_with_its_holder", "it came back"),
    expect(Fault::TwoHolders, "life.one_holder_at_a_time", "was not refused"),
    expect(Fault::SnapshotIsEmpty, "snapshots.one_goes_on_and_others_go_on_from_there", "No such file"),
    expect(Fault::SnapshotsStay, "snapshots.a_name_is_taken_until_it_is_removed", "was not refused"),
    expect(Fault::AdoptionResumes, "life.what_is_paused_comes_back_paused", "time goes on"),
];
