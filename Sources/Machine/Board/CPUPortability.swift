import X86

/// What `cpuid-portability-level` takes from a CPU model, so that a guest never comes to depend on it: the features that
/// VirtualBox takes away at these levels. What the model does not have is not there anyway.
///
/// A guest sees less and the CPU offers less (`CPUProfile`). A 64-bit system needs SSE2, so that level 3 is for 32-bit ones.
enum CPUPortability {
  /// The levels: 0 leaves everything.
  static let levels = 0...3

  private enum Register { case ebx, ecx, edx }

  private struct Feature {
    /// From which level on it is gone.
    var level: Int
    var leaf: UInt32
    var register: Register
    var bits: [Int]
  }

  /// Bits of Intel SDM vol. 2A, CPUID; those of leaf 8000_0001H that Intel does not have are of AMD's APM vol. 3, E.3.6.
  private static let features = [
    // PCLMULQDQ, SSSE3, FMA, CMPXCHG16B, PCID, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE, AVX, F16C, RDRAND.
    Feature(level: 1, leaf: 1, register: .ecx, bits: [1, 9, 12, 13, 17, 19, 20, 22, 23, 25, 26, 28, 29, 30]),
    // FSGSBASE, BMI1, AVX2, SMEP, BMI2, INVPCID, AVX512F, RDSEED, ADX, SMAP, CLFLUSHOPT, AVX512PF, ER and CD, SHA.
    Feature(level: 1, leaf: 7, register: .ebx, bits: [0, 3, 5, 7, 8, 10, 16, 18, 19, 20, 23, 26, 27, 28, 29]),
    // UMIP, RDPID.
    Feature(level: 1, leaf: 7, register: .ecx, bits: [2, 22]),
    // LZCNT, SSE4A, misaligned SSE, PREFETCHW, XOP, FMA4, TBM.
    Feature(level: 1, leaf: 0x8000_0001, register: .ecx, bits: [5, 6, 7, 8, 11, 16, 21]),
    // RDTSCP.
    Feature(level: 1, leaf: 0x8000_0001, register: .edx, bits: [27]),
    // SSE3.
    Feature(level: 2, leaf: 1, register: .ecx, bits: [0]),
    // LAHF and SAHF in 64-bit mode.
    Feature(level: 2, leaf: 0x8000_0001, register: .ecx, bits: [0]),
    // CMOV, CLFLUSH, SSE, SSE2.
    Feature(level: 3, leaf: 1, register: .edx, bits: [15, 19, 25, 26]),
  ]

  /// The model without what its level takes.
  static func apply(_ level: Int, to profile: CPUProfile) -> CPUProfile {
    var profile = profile
    for feature in features where feature.level <= level {
      guard var leaf = profile.leaves.first(where: { $0.leaf == feature.leaf && $0.subleaf == 0 }) else { continue }
      let mask = feature.bits.reduce(0 as UInt32) { $0 | 1 << UInt32($1) }
      switch feature.register {
      case .ebx: leaf.ebx &= ~mask
      case .ecx: leaf.ecx &= ~mask
      case .edx: leaf.edx &= ~mask
      }
      profile = profile.setting(leaf)
    }
    return profile
  }
}

extension HardwareDescription {
  /// The CPUID leaves that the settings ask for, before leaves are changed one by one; nil: this build does not have the model.
  public static func cpuidLeaves(of settings: [String: String]) -> [CPUIDLeaf]? {
    guard let profile = settings["cpu-profile"].flatMap(CPUProfile.named) else { return nil }
    // A build that does not know the setting takes nothing away.
    let level = settings["cpuid-portability-level"].flatMap { Int($0) } ?? 0
    return CPUPortability.levels.contains(level) ? CPUPortability.apply(level, to: profile).leaves : nil
  }
}
