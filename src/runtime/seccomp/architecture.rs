//! The architectures whose system calls a filter can name.

use oci_spec::runtime::Arch;

/// An architecture as system calls see it: numbers, and what `seccomp_data.arch` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 32-bit pointers on 64-bit x86.
    X32,
    /// 32-bit x86.
    X86,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm (EABI).
    Arm,
}

impl Architecture {
    /// All, in the order of the table's columns.
    pub const ALL: [Architecture; 5] = [Self::X86_64, Self::X32, Self::X86, Self::Aarch64, Self::Arm];

    /// The one this file was built for; none if filters cannot be made for it.
    pub fn native() -> Option<Architecture> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            "x86" => Some(Self::X86),
            "arm" => Some(Self::Arm),
            _ => None,
        }
    }

    /// `AUDIT_ARCH_*` of `linux/audit.h`.
    pub fn token(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The specification's name for it.
    pub fn to_oci(self) -> Arch {
        match self {
            Self::X86_64 => Arch::ScmpArchX86_64,
            Self::X32 => Arch::ScmpArchX32,
            Self::X86 => Arch::ScmpArchX86,
            Self::Aarch64 => Arch::ScmpArchAarch64,
            Self::Arm => Arch::ScmpArchArm,
        }
    }

    /// The reverse; none for an architecture that no machine of ours can execute.
    pub fn from_oci(arch: Arch) -> Option<Architecture> {
        match arch {
            Arch::ScmpArchNative => Self::native(),
            other => Self::ALL.into_iter().find(|a| a.to_oci() == other),
        }
    }

    /// The name in the `arches` lists of profile files (libseccomp's, which are Go's where they differ).
    pub fn profile_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X32 => "x32",
            Self::X86 => "x86",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// This one and those whose programs its kernels execute too.
    pub fn family(self) -> &'static [Architecture] {
        match self {
            Self::X86_64 => &[Self::X86_64, Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Aarch64, Self::Arm],
            Self::X32 => &[Self::X32],
            Self::X86 => &[Self::X86],
            Self::Arm => &[Self::Arm],
        }
    }
}
