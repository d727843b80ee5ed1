//! The filter that containers get unless they ask for another, with the meaning of the containers project's default profile.
//!
//! A call that is not listed answers `ENOSYS`, so that programs fall back to older calls; what is known and not wanted answers
//! `EPERM`; some depend on a capability, which the kernel then checks once more. One difference: `bpf` and `perf_event_open` are
//! let through to the kernel's checks for `CAP_SYS_ADMIN` as well as for `CAP_BPF` and `CAP_PERFMON`, as the kernel does.

use super::architecture::Architecture;
use super::rules::comparison;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompOperator, LinuxSyscall};

/// The default profile for a process whose bounding set is `capabilities` ([`types::capability`]'s bits).
pub fn default(capabilities: u64, architecture: Architecture) -> LinuxSeccomp {
    let mut rules = vec![allow(ALWAYS), refuse(NEVER)];
    for persona in PERSONALITIES {
        rules.push(when(allow("personality"), &[(0, LinuxSeccompOperator::ScmpCmpEq, persona)]));
    }
    match architecture {
        Architecture::Aarch64 | Architecture::Arm => rules.push(allow(ON_ARM)),
        Architecture::X86_64 | Architecture::X32 => rules.push(allow("arch_prctl modify_ldt")),
        Architecture::X86 => rules.push(allow("modify_ldt")),
    }
    let has = |names: &str| {
        names.split(' ').any(|n| types::capability::number(n).is_some_and(|n| capabilities >> n & 1 == 1))
    };
    for (capability, calls) in BY_CAPABILITY {
        rules.push(if has(capability) { allow(calls) } else { refuse(calls) });
    }
    if has(AUDIT_WRITE) {
        rules.push(allow("socket"));
    } else {
        // Without it, netlink's audit family must look absent: EINVAL, or login programs fail.
        use LinuxSeccompOperator::{ScmpCmpEq as Equal, ScmpCmpNe as Differs};
        let (netlink, audit) = (16, 9);
        rules.push(when(answer("socket", 22), &[(0, Equal, netlink), (2, Equal, audit)]));
        rules.push(when(allow("socket"), &[(0, Differs, netlink)]));
        rules.push(when(allow("socket"), &[(2, Differs, audit)]));
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(ENOSYS))
        .set_architectures(Some(architecture.family().iter().map(|a| a.to_oci()).collect()))
        .set_syscalls(Some(rules));
    profile
}

/// The capabilities that the default profile asks about: for two sets that differ in others only it is the same.
pub(super) fn asked_about() -> u64 {
    let names = BY_CAPABILITY.iter().flat_map(|(names, _)| names.split(' ')).chain([AUDIT_WRITE]);
    names.filter_map(types::capability::number).fold(0, |bits, number| bits | 1 << number)
}

/// A profile that allows everything: something for [`ignore_chown`] to be added to where no filter is wanted.
pub fn unconfined(architecture: Architecture) -> LinuxSeccomp {
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(LinuxSeccompAction::ScmpActAllow)
        .set_architectures(Some(architecture.family().iter().map(|a| a.to_oci()).collect()));
    profile
}

/// Makes every change of owner succeed without effect: for user namespaces with a single id, where none could.
/// It outdoes all that `profile` says about these calls.
pub fn ignore_chown(profile: &mut LinuxSeccomp) {
    let mut rules = vec![answer("chown chown32 fchown fchown32 fchownat lchown lchown32", 0)];
    rules.extend(profile.syscalls().iter().flatten().cloned());
    profile.set_syscalls(Some(rules));
}

const AUDIT_WRITE: &str = "AUDIT_WRITE";
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

fn rule(names: &str, action: LinuxSeccompAction) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.split_ascii_whitespace().map(String::from).collect()).set_action(action);
    rule
}

fn allow(names: &str) -> LinuxSyscall {
    rule(names, LinuxSeccompAction::ScmpActAllow)
}

fn refuse(names: &str) -> LinuxSyscall {
    answer(names, EPERM)
}

fn answer(names: &str, errno: u32) -> LinuxSyscall {
    let mut rule = rule(names, LinuxSeccompAction::ScmpActErrno);
    rule.set_errno_ret(Some(errno));
    rule
}

fn when(mut rule: LinuxSyscall, comparisons: &[(usize, LinuxSeccompOperator, u64)]) -> LinuxSyscall {
    let arguments = comparisons.iter().map(|(argument, op, value)| comparison(*argument, *op, *value));
    rule.set_args(Some(arguments.collect()));
    rule
}

/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, and the question.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Any of these capabilities lets these calls through.
const BY_CAPABILITY: [(&str, &str); 11] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    ("SYS_ADMIN", "lookup_dcookie quotactl quotactl_fd setdomainname sethostname"),
    ("SYS_ADMIN BPF", "bpf"),
    ("SYS_ADMIN PERFMON", "perf_event_open"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module query_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp process_madvise"),
    ("SYS_RAWIO", "ioperm iopl"),
    ("SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("SYS_TTY_CONFIG", "vhangup"),
];

const ON_ARM: &str = "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2";

const ALWAYS: &str = "
    _llseek _newselect accept accept4 access adjtimex alarm bind brk capget capset chdir chmod chown chown32
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
    clock_nanosleep_time64 clone clone3 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
    epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve
    execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_init fanotify_mark fchdir
    fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork
    fremovexattr fsconfig fsetxattr fsmount fsopen fspick fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futex futex_time64 futimesat get_mempolicy get_robust_list get_thread_area getcpu getcwd getdents
    getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage
    getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_setup io_submit ioctl ioprio_get ioprio_set
    ipc keyctl kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link
    linkat listen listxattr llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise mbind membarrier
    memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mount mount_setattr
    move_mount mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at
    nanosleep newfstatat open open_tree openat openat2 pause pidfd_getfd pidfd_open pidfd_send_signal pipe pipe2
    pivot_root pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64
    process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv reboot recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
    removexattr rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile
    sendfile64 sendmmsg sendmsg sendto set_mempolicy set_robust_list set_thread_area set_tid_address setfsgid
    setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setns setpgid setpriority setregid
    setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid
    setuid32 setxattr shmat shmctl shmdt shmget shutdown sigaltstack signal signalfd signalfd4 sigprocmask sigreturn
    socketcall socketpair splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs
    sysinfo syslog tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
    times tkill truncate truncate64 ugetrlimit umask umount umount2 uname unlink unlinkat unshare utime utimensat
    utimensat_time64 utimes vfork wait4 waitid waitpid write writev";

const NEVER: &str = "
    bdflush cachestat futex_requeue futex_wait futex_waitv futex_wake io_pgetevents io_pgetevents_time64
    kexec_file_load kexec_load map_shadow_stack migrate_pages move_pages nfsservctl nice oldfstat oldlstat oldolduname
    oldstat olduname pciconfig_iobase pciconfig_read pciconfig_write sgetmask ssetmask swapoff swapon syscall sysfs
    uselib userfaultfd ustat vm86 vm86old vmsplice";
