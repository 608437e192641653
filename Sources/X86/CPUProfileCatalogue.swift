/// The profiles there are. Their bytes are part of a machine's definition: a teleport compares them, so that a
/// change of a profile is named in CHANGELOG.md, with what gives a saved machine its leaves of before.
extension CPUProfile {
  /// The default.
  public static let standard = x86_64_v2
  public static let all: [CPUProfile] = [x86_64_v2, x86_64_v2_extended, i686]

  /// The profile of this name, if there is one.
  public static func named(_ name: String) -> CPUProfile? { all.first { $0.name == name } }

  /// Leaf 1 EDX of the 64-bit profiles: FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX
  /// FXSR SSE SSE2.
  private static let edx64: UInt32 = 0x078b_fbff
  /// SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT.
  private static let ecx64: UInt32 = 1 << 0 | 1 << 9 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 23

  /// Everything of the x86-64-v2 level of the psABI.
  ///
  /// The signature is that of an in-order Atom (family 6, model 1CH, stepping 10): Linux knows it as a core that does not
  /// speculate, so that it spends nothing on side-channel mitigations which an interpreter does not need.
  public static let x86_64_v2 = CPUProfile(
    name: "x86-64-v2", summary: "64-bit, through SSE4.2 and POPCNT: the default", microcodeRevision: 0x107,
    leaves: wide(brand: "vmctl x86-64-v2", ebx7: 1 << 1 | 1 << 9, ecx7: 0))

  /// As x86-64-v2, with FSGSBASE, SMEP, SMAP and UMIP.
  public static let x86_64_v2_extended = CPUProfile(
    name: "x86-64-v2-extended", summary: "x86-64-v2 with FSGSBASE, SMEP, SMAP and UMIP", microcodeRevision: 0x107,
    leaves: wide(
      brand: "vmctl x86-64-v2-extended", ebx7: 1 << 0 | 1 << 1 | 1 << 7 | 1 << 9 | 1 << 20, ecx7: 1 << 2))

  /// A 32-bit processor with PAE and SSE, much like a Pentium III.
  public static let i686 = CPUProfile(
    name: "i686", summary: "32-bit with PAE, MMX and SSE, like a Pentium III", microcodeRevision: 0x8,
    leaves: [
      vendor(highest: 2, leaf: 0, "GenuineIntel"),
      CPUIDLeaf(1, eax: 0x0000_068a, ebx: 0x0001_0000, ecx: 0, edx: 0x0383_fbff),
      CPUIDLeaf(2, eax: 0x0302_0101, ebx: 0, ecx: 0, edx: 0x0c04_0882),
      CPUIDLeaf(0x8000_0000, eax: 0x8000_0004, ebx: 0, ecx: 0, edx: 0),
      CPUIDLeaf(0x8000_0001, eax: 0, ebx: 0, ecx: 0, edx: 0),
    ] + brand("vmctl i686"))

  private static func wide(brand text: String, ebx7: UInt32, ecx7: UInt32) -> [CPUIDLeaf] {
    [
      vendor(highest: 0x16, leaf: 0, "GenuineIntel"),
      // CLFLUSH lines of 64 bytes, one logical processor; the APIC id is filled in.
      CPUIDLeaf(1, eax: 0x0001_06ca, ebx: 0x0001_0800, ecx: ecx64, edx: edx64),
      // 32 KiB L1 caches and 2 MiB L2.
      CPUIDLeaf(2, eax: 0x0000_0001, ebx: 0, ecx: 0, edx: 0x002c_307d),
      CPUIDLeaf(4, 0, eax: 0x0000_0121, ebx: 0x01c0_003f, ecx: 0x3f, edx: 1),
      CPUIDLeaf(4, 1, eax: 0x0000_0122, ebx: 0x01c0_003f, ecx: 0x3f, edx: 1),
      CPUIDLeaf(4, 2, eax: 0x0000_0143, ebx: 0x01c0_003f, ecx: 0xfff, edx: 1),
      // TSC_ADJUST is bit 1 of EBX: a guest without it may give up its TSC. ERMS is bit 9: string instructions are the
      // fast way here.
      CPUIDLeaf(7, 0, eax: 0, ebx: ebx7, ecx: ecx7, edx: 0),
      // TSC and local APIC timer tick once a nanosecond: no guest need measure them.
      CPUIDLeaf(0x15, eax: 1, ebx: 1, ecx: 1_000_000_000, edx: 0),
      CPUIDLeaf(0x16, eax: 1000, ebx: 1000, ecx: 1000, edx: 0),
      CPUIDLeaf(0x8000_0000, eax: 0x8000_0008, ebx: 0, ecx: 0, edx: 0),
      // LAHF; SYSCALL, NX, 1 GiB pages, RDTSCP, long mode.
      CPUIDLeaf(
        0x8000_0001, eax: 0, ebx: 0, ecx: 1, edx: 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29),
      // L2: 2 MiB, 8 ways, 64-byte lines.
      CPUIDLeaf(0x8000_0006, eax: 0, ebx: 0, ecx: 0x0800_6040, edx: 0),
      // The TSC runs at one rate in every state.
      CPUIDLeaf(0x8000_0007, eax: 0, ebx: 0, ecx: 0, edx: 1 << 8),
      // 40 physical and 48 linear address bits.
      CPUIDLeaf(0x8000_0008, eax: 0x3028, ebx: 0, ecx: 0, edx: 0),
    ] + brand(text)
  }

  /// The vendor string goes to EBX, EDX, ECX in this order.
  private static func vendor(highest: UInt32, leaf: UInt32, _ text: String) -> CPUIDLeaf {
    let words = words(text, count: 3)
    return CPUIDLeaf(leaf, eax: highest, ebx: words[0], ecx: words[2], edx: words[1])
  }

  private static func brand(_ text: String) -> [CPUIDLeaf] {
    let words = words(text, count: 12)
    return (0..<3).map { part in
      let at = part * 4
      return CPUIDLeaf(
        0x8000_0002 + UInt32(part), eax: words[at], ebx: words[at + 1], ecx: words[at + 2], edx: words[at + 3])
    }
  }

  /// ASCII text as little-endian words, padded with zeros.
  private static func words(_ text: String, count: Int) -> [UInt32] {
    var words = [UInt32](repeating: 0, count: count)
    for (index, byte) in text.utf8.prefix(count * 4).enumerated() {
      words[index / 4] |= UInt32(byte) << UInt32(index % 4 * 8)
    }
    return words
  }
}
