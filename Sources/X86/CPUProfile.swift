/// One CPUID leaf, as data.
public struct CPUIDLeaf: Codable, Equatable, Hashable, Sendable {
  /// EAX of the question.
  public var leaf: UInt32
  /// 0 for leaves that have no subleaves.
  public var subleaf: UInt32
  /// The answer's EAX.
  public var eax: UInt32
  /// The answer's EBX.
  public var ebx: UInt32
  /// The answer's ECX.
  public var ecx: UInt32
  /// The answer's EDX.
  public var edx: UInt32

  public init(_ leaf: UInt32, _ subleaf: UInt32 = 0, eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32) {
    self.leaf = leaf
    self.subleaf = subleaf
    self.eax = eax
    self.ebx = ebx
    self.ecx = ecx
    self.edx = edx
  }
}

/// What a CPU says it is: the CPUID leaves, the same bytes on every host (Intel SDM vol. 2A, CPUID).
///
/// A feature that is not offered here is refused: a CR4 or EFER bit that belongs to it raises #GP.
public struct CPUProfile: Sendable, Equatable {
  public let name: String
  /// One line for `vmctl list cpu-profiles`.
  public let summary: String
  /// Every leaf, in ascending order.
  public private(set) var leaves: [CPUIDLeaf] { didSet { features = Features(leaves) } }
  /// IA32_BIOS_SIGN_ID, the upper half.
  public let microcodeRevision: UInt64
  private var features: Features

  init(name: String, summary: String, microcodeRevision: UInt64, leaves: [CPUIDLeaf]) {
    self.name = name
    self.summary = summary
    self.microcodeRevision = microcodeRevision
    self.leaves = Self.sorted(leaves)
    features = Features(leaves)
  }

  private static func sorted(_ leaves: [CPUIDLeaf]) -> [CPUIDLeaf] {
    leaves.sorted { ($0.leaf, $0.subleaf) < ($1.leaf, $1.subleaf) }
  }

  /// Profiles are equal when a guest cannot tell them apart; names do not count.
  public static func == (a: CPUProfile, b: CPUProfile) -> Bool { a.leaves == b.leaves }

  // MARK: Questions

  /// Leaves whose answer depends on ECX.
  static func hasSubleaves(_ leaf: UInt32) -> Bool {
    leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x14
  }

  /// The answer before the parts that depend on the CPU's state; zeros for a leaf that is not there.
  public func query(_ leaf: UInt32, _ subleaf: UInt32) -> CPUIDLeaf {
    let wanted = Self.hasSubleaves(leaf) ? subleaf : 0
    for entry in leaves where entry.leaf == leaf && entry.subleaf == wanted { return entry }
    return CPUIDLeaf(leaf, wanted, eax: 0, ebx: 0, ecx: 0, edx: 0)
  }

  /// Family, model and stepping: CPUID.1:EAX, and EDX after a reset.
  public var signature: UInt32 { query(1, 0).eax }
  /// Bits of a physical address (CPUID leaf 8000_0008H).
  public var physicalAddressBits: UInt64 { features.physicalBits }
  var offersLongMode: Bool { features.longMode }
  var offersSYSCALL: Bool { features.syscall }
  var offersNX: Bool { features.noExecute }
  var offersHugePages: Bool { features.hugePages }
  var offersRDTSCP: Bool { features.rdtscp }
  var offersRDPID: Bool { features.rdpid }
  var offersXSAVE: Bool { features.xsave }
  var offersX2APIC: Bool { features.x2apic }
  var offersMonitor: Bool { features.monitor }
  var offersFSGSBase: Bool { features.fsgsbase }
  var offersSMEP: Bool { features.smep }
  var offersSMAP: Bool { features.smap }
  var offersUMIP: Bool { features.umip }

  // MARK: Changes

  /// With one leaf replaced or added (`--cpuid-set`).
  public func setting(_ leaf: CPUIDLeaf) -> CPUProfile {
    var copy = self
    copy.leaves = Self.sorted(leaves.filter { $0.leaf != leaf.leaf || $0.subleaf != leaf.subleaf } + [leaf])
    return copy
  }

  /// The same profile with another answer to one question.
  public func setting(
    leaf: UInt32, subleaf: UInt32 = 0, eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32
  ) -> CPUProfile {
    setting(CPUIDLeaf(leaf, subleaf, eax: eax, ebx: ebx, ecx: ecx, edx: edx))
  }

  /// Without one leaf, which then reads as zeros (`--cpuid-remove`); without `subleaf`, all of the leaf's.
  public func removing(leaf: UInt32, subleaf: UInt32? = nil) -> CPUProfile {
    var copy = self
    copy.leaves = leaves.filter { $0.leaf != leaf || (subleaf != nil && $0.subleaf != subleaf) }
    return copy
  }

  /// With leaves 15H and 16H, which tell the guest its clocks so that it need not measure them.
  /// - Parameters: timeStampHz: of the TSC. busHz: of the local APIC's timer.
  public func statingClocks(timeStampHz: UInt64, busHz: UInt64) -> CPUProfile {
    guard busHz > 0, busHz <= UInt32.max, timeStampHz > 0 else { return self }
    var (a, b) = (timeStampHz, busHz)
    while b != 0 { (a, b) = (b, a % b) }
    guard timeStampHz / a <= UInt32.max else { return self }
    let ratio = CPUIDLeaf(
      0x15, eax: UInt32(busHz / a), ebx: UInt32(timeStampHz / a), ecx: UInt32(busHz), edx: 0)
    let megahertz = UInt32(min(timeStampHz / 1_000_000, 0xffff))
    let speed = CPUIDLeaf(
      0x16, eax: megahertz, ebx: megahertz, ecx: UInt32(min(busHz / 1_000_000, 0xffff)), edx: 0)
    var first = query(0, 0)
    first.eax = max(first.eax, 0x16)
    return setting(ratio).setting(speed).setting(first)
  }

  /// What the CPU asks its profile often, taken from the leaves once.
  private struct Features: Equatable {
    var physicalBits: UInt64 = 36
    var longMode = false
    var syscall = false
    var noExecute = false
    var hugePages = false
    var rdtscp = false
    var rdpid = false
    var xsave = false
    var x2apic = false
    var monitor = false
    var fsgsbase = false
    var smep = false
    var smap = false
    var umip = false

    init(_ leaves: [CPUIDLeaf]) {
      for leaf in leaves where leaf.subleaf == 0 {
        switch leaf.leaf {
        case 1:
          monitor = leaf.ecx & 1 << 3 != 0
          x2apic = leaf.ecx & 1 << 21 != 0
          xsave = leaf.ecx & 1 << 26 != 0
        case 7:
          fsgsbase = leaf.ebx & 1 != 0
          smep = leaf.ebx & 1 << 7 != 0
          smap = leaf.ebx & 1 << 20 != 0
          umip = leaf.ecx & 1 << 2 != 0
          rdpid = leaf.ecx & 1 << 22 != 0
        case 0x8000_0001:
          syscall = leaf.edx & 1 << 11 != 0
          noExecute = leaf.edx & 1 << 20 != 0
          hugePages = leaf.edx & 1 << 26 != 0
          rdtscp = leaf.edx & 1 << 27 != 0
          longMode = leaf.edx & 1 << 29 != 0
        case 0x8000_0008: physicalBits = min(max(UInt64(leaf.eax & 0xff), 32), 46)
        default: break
        }
      }
    }
  }
}
