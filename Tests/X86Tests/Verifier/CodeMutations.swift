import CHost

@testable import X86

/// A deliberate fault of emission: how it changes an instruction of a block's code, where it can.
struct CodeMutation: Sendable {
  /// One instruction in the code of a block.
  struct Site {
    var code: [UInt8]
    var instructions: [HostInstruction]
    var index: Int

    var it: HostInstruction { instructions[index] }
    var bytes: [UInt8] { bytes(of: index) }
    func bytes(of index: Int) -> [UInt8] {
      let each = instructions[index]
      return Array(code[each.offset..<each.offset + each.length])
    }

    /// The bytes of another instruction, if there is one, `distance` from here.
    func neighbour(_ distance: Int) -> [UInt8]? {
      instructions.indices.contains(index + distance) ? bytes(of: index + distance) : nil
    }
  }

  var name: String
  /// The instruction's new bytes, as many as the old; nil where there is no such fault.
  var change: @Sendable (Site) -> [UInt8]?

  /// No operation, of a length.
  static func nothing(_ length: Int) -> [UInt8] { [UInt8](repeating: 0x90, count: length) }

  /// Another instruction where a longer one was.
  static func instead(_ bytes: [UInt8], _ length: Int) -> [UInt8]? {
    bytes.count <= length ? bytes + nothing(length - bytes.count) : nil
  }

  /// With a number added to its last four bytes.
  static func adding(_ value: Int32, _ bytes: [UInt8]) -> [UInt8] {
    var number: UInt32 = 0
    for byte in bytes.suffix(4).reversed() { number = number << 8 | UInt32(byte) }
    number &+= UInt32(bitPattern: value)
    return bytes.dropLast(4) + (0..<4).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
  }

  // MARK: Forms

  /// CMP R14 or R15 with what a check compares with.
  static func isCheck(_ bytes: [UInt8]) -> Bool {
    bytes.count == 7 && bytes[0] == 0x49 && bytes[1] == 0x81 && (bytes[2] == 0xff || bytes[2] == 0xfe)
      && bytes[4] == 0x0f
      && bytes[5] == 0
  }
  /// JA, JBE and the like to another place.
  static func isBranch(_ bytes: [UInt8]) -> Bool { bytes.count == 6 && bytes[0] == 0x0f && bytes[1] & 0xf0 == 0x80 }
  /// XOR R14 or R15 with a field at a distance from the state.
  static func isTag(_ bytes: [UInt8]) -> Bool {
    bytes.count == 7 && bytes[0] == 0x4c && bytes[1] == 0x33 && (bytes[2] == 0xbd || bytes[2] == 0xb5)
  }
  static func isAddend(_ bytes: [UInt8]) -> Bool {
    bytes.count == 7 && bytes[0] == 0x4c && bytes[1] == 0x8b && bytes[2] == 0xb5 && field(bytes) == 16
  }
  /// Of a micro-TLB entry, by the displacement of the instruction; -1 for what is none.
  static func field(_ bytes: [UInt8]) -> Int {
    let offset = Int(displacement(bytes)) + GuestRegisters.bias
    if case .micro(_, _, let field) = StateLayout.region(offset) { return field }
    return -1
  }
  static func displacement(_ bytes: [UInt8]) -> Int32 {
    bytes.suffix(4).reversed().reduce(0) { $0 << 8 | Int32($1) }
  }
}

extension CodeMutation {
  /// Whether it is the check of an access on the straight way.
  private static func isGuarded(_ site: Site) -> Bool {
    // All of a repeated string instruction is looked at besides.
    guard !site.instructions.contains(where: \.repeats), isCheck(site.bytes), let next = site.neighbour(1) else {
      return false
    }
    return isBranch(next) && (next[1] == 0x87 || next[1] == 0x86)
  }

  private static func afterCheck(_ site: Site) -> Bool {
    guard isBranch(site.bytes), let before = site.neighbour(-1) else { return false }
    return isCheck(before) && (site.bytes[1] == 0x87 || site.bytes[1] == 0x86)
  }

  private static func when(
    _ condition: @escaping @Sendable (Site) -> Bool, _ change: @escaping @Sendable (Site) -> [UInt8]?
  ) -> @Sendable (Site) -> [UInt8]? {
    { condition($0) ? change($0) : nil }
  }

  /// A store into the state at a distance of 32 bits, or to a guest register's place.
  private static func isStateStore(_ bytes: [UInt8]) -> Bool {
    bytes.count == 4 && bytes[0] & 0xf8 == 0x48 && bytes[1] == 0x89 && bytes[2] & 0xc7 == 0x45
  }

  /// MOV R14, or R15, with a constant of 32 bits.
  private static func isConstant(_ bytes: [UInt8], _ register: UInt8) -> Bool {
    bytes.count == 6 && bytes[0] == 0x41 && bytes[1] == 0xb8 | register & 7
  }

  private static func callsStep(_ site: Site) -> Bool {
    guard let next = site.neighbour(1), let before = site.neighbour(-1) else { return false }
    return isConstant(site.bytes, 15) && next[0] == 0xe8 && before[0] == 0x49 && before.count == 10
  }

  /// Instructions that emitted code never has, each in the stead of the load of an addend.
  private static let strangers: [(String, [UInt8])] = [
    ("push", [0x50]), ("pop", [0x58]), ("return", [0xc3]), ("system call", [0x0f, 0x05]), ("breakpoint", [0xcc]),
    ("interrupt", [0xcd, 0x80]), ("undefined instruction", [0x0f, 0x0b]), ("halt", [0xf4]),
    ("move to RSP", [0x48, 0x89, 0xc4]), ("move to RBP", [0x48, 0x89, 0xc5]), ("jump to a register", [0xff, 0xe0]),
    ("call of a register", [0xff, 0xd0]), ("store through a register", [0x48, 0x89, 0x03]),
    ("load through a register", [0x48, 0x8b, 0x03]), ("store on the stack", [0x48, 0x89, 0x04, 0x24]),
    ("store relative to RIP", [0x89, 0x05, 0, 0, 0, 0]), ("store by FS", [0x64, 0x89, 0x03]),
    ("FS base", [0xf3, 0x48, 0x0f, 0xae, 0xd0]), ("string store", [0xaa]), ("exchange with RSP", [0x48, 0x94]),
    ("addend of a guest register", [0x49, 0x89, 0xce]), ("addend zeroed", [0x45, 0x31, 0xf6]),
    ("long jump", [0xff, 0x2b]), ("port", [0xee]), ("CPUID", [0x0f, 0xa2]), ("protection keys", [0x0f, 0x01, 0xef]),
    ("address of 32 bits", [0x67, 0x89, 0x03]), ("enter", [0xc8, 0, 0, 0]), ("leave", [0xc9]),
  ]

  static let all: [CodeMutation] =
    strangers.map { name, bytes in
      CodeMutation(name: name, change: when({ isAddend($0.bytes) }) { instead(bytes, $0.bytes.count) })
    } + checks + fields + branches + calls + tables + loops

  private static let checks = [
    CodeMutation(name: "check too short by a byte", change: when(isGuarded) { adding(1, $0.bytes) }),
    CodeMutation(name: "check too short by 15 bytes", change: when(isGuarded) { adding(15, $0.bytes) }),
    CodeMutation(name: "check of two pages", change: when(isGuarded) { adding(4096, $0.bytes) }),
    CodeMutation(name: "check of any address", change: when(isGuarded) { adding(0x6fff_0000, $0.bytes) }),
    CodeMutation(name: "check dropped", change: when(isGuarded) { nothing($0.bytes.count) }),
    CodeMutation(
      name: "check of 32 bits", change: when(isGuarded) { [0x41] + $0.bytes.dropFirst() }),
    CodeMutation(
      name: "check of the other temporary",
      change: when(isGuarded) { $0.bytes.prefix(2) + [$0.bytes[2] ^ 1] + $0.bytes.suffix(4) }),
    CodeMutation(
      name: "check of a guest register", change: when(isGuarded) { [0x48, 0x81, 0xfb] + $0.bytes.suffix(4) }),
    CodeMutation(
      name: "branch of a check dropped",
      change: when({ afterCheck($0) && $0.bytes[1] == 0x87 }) { nothing($0.bytes.count) }),
    CodeMutation(
      name: "branch of a check turned round", change: when(afterCheck) { [0x0f, $0.bytes[1] ^ 1] + $0.bytes.suffix(4) }),
    CodeMutation(
      name: "branch of a check on another flag", change: when(afterCheck) { [0x0f, 0x80] + $0.bytes.suffix(4) }),
    CodeMutation(
      name: "signed branch of a check",
      change: when(afterCheck) { [0x0f, $0.bytes[1] == 0x87 ? 0x8f : 0x8e] + $0.bytes.suffix(4) }),
  ]

  private static func readsMicroTag(_ site: Site) -> Bool { isTag(site.bytes) && field(site.bytes) >= 0 }

  private static let fields = [
    CodeMutation(
      name: "read tag for a write",
      change: when({ isTag($0.bytes) && field($0.bytes) == 8 && isGuardedNext($0) }) { adding(-8, $0.bytes) }),
    CodeMutation(
      name: "addend as the tag", change: when(isCheckedTag) { adding(16 - Int32(field($0.bytes)), $0.bytes) }),
    CodeMutation(name: "tag of the next entry", change: when(isCheckedTag) { adding(32, $0.bytes) }),
    CodeMutation(name: "tag of 32 bits", change: when(isCheckedTag) { [0x44] + $0.bytes.dropFirst() }),
    CodeMutation(name: "tag not XORed", change: when(isCheckedTag) { nothing($0.bytes.count) }),
    CodeMutation(
      name: "tag of another mode", change: when(isCheckedTag) { adding(Int32(MicroTLB.slots * 32), $0.bytes) }),
    CodeMutation(name: "addend of the next entry", change: when({ isAddend($0.bytes) }) { adding(32, $0.bytes) }),
    CodeMutation(name: "tag as the addend", change: when({ isAddend($0.bytes) }) { adding(-16, $0.bytes) }),
    CodeMutation(name: "physical address as the addend", change: when({ isAddend($0.bytes) }) { adding(8, $0.bytes) }),
    CodeMutation(name: "addend not loaded", change: when(isNeeded) { nothing($0.bytes.count) }),
    CodeMutation(
      name: "addend in the other temporary", change: when(isNeeded) { [0x4c, 0x8b, 0xbd] + $0.bytes.suffix(4) }),
    CodeMutation(name: "half an addend", change: when({ isAddend($0.bytes) }) { [0x44] + $0.bytes.dropFirst() }),
    CodeMutation(
      name: "addend of another mode",
      change: when({ isAddend($0.bytes) }) { adding(Int32(MicroTLB.slots * 32), $0.bytes) }),
  ]

  /// A jump out of the block.
  private static func leaves(_ it: HostInstruction, _ site: Site) -> Bool {
    it.kind == .jump && it.target.map { $0 < 0 || $0 >= site.code.count } ?? false
  }

  /// The load of an addend that R14 does not hold already.
  private static func isNeeded(_ site: Site) -> Bool {
    guard isAddend(site.bytes) else { return false }
    var index = site.index - 1
    while index >= 0 && site.instructions[index].writes >> 14 & 1 == 0 { index -= 1 }
    return index < 0 || site.bytes(of: index) != site.bytes
  }

  /// A tag whose XOR is compared next.
  private static func isCheckedTag(_ site: Site) -> Bool { readsMicroTag(site) && isGuardedNext(site) }
  private static func isGuardedNext(_ site: Site) -> Bool { site.neighbour(1).map(isCheck) ?? false }

  private static let branches = [
    CodeMutation(
      name: "branch into an instruction",
      change: when({ isBranch($0.bytes) || $0.it.kind == .jump && $0.bytes.count == 5 }) {
        // Behind the first byte of what is longer.
        site in
        guard let target = site.it.target, let found = site.instructions.first(where: { $0.offset == target }),
          found.length > 1
        else { return nil }
        return adding(1, site.bytes)
      }),
    CodeMutation(name: "branch far away", change: when({ isBranch($0.bytes) }) { adding(0x10_0000, $0.bytes) }),
    CodeMutation(
      name: "jump far away",
      change: when({ $0.it.kind == .jump && $0.bytes.count == 5 }) { adding(0x10_0000, $0.bytes) }),
    CodeMutation(
      name: "way out without a reason",
      change: when({
        isStateStore($0.bytes) && $0.instructions.indices.contains($0.index + 1)
          && leaves($0.instructions[$0.index + 1], $0)
      }) {
        nothing($0.bytes.count)
      }),
    CodeMutation(
      name: "reason that is none",
      change: when({ isConstant($0.bytes, 14) && ($0.neighbour(1).map(isStateStore) ?? false) }) {
        adding(0x1234, $0.bytes)
      }),
    CodeMutation(
      name: "store by a guest register",
      change: when({ isStateStore($0.bytes) }) { [$0.bytes[0], 0x89, $0.bytes[2] - 2, $0.bytes[3]] }),
    CodeMutation(
      name: "store over a pointer of the host's",
      change: when({ isStateStore($0.bytes) }) { $0.bytes.dropLast() + [0x30] }),
  ]

  private static let calls = [
    CodeMutation(name: "call of nothing", change: when({ $0.it.kind == .call }) { adding(3, $0.bytes) }),
    CodeMutation(name: "another instruction interpreted", change: when(callsStep) { adding(1, $0.bytes) }),
    CodeMutation(
      name: "something interpreted that is no instruction",
      change: when({
        $0.bytes.count == 10 && $0.bytes[0] == 0x49 && $0.bytes[1] == 0xbe && $0.neighbour(2)?.first == 0xe8
      }) {
        site in
        var bytes = site.bytes
        bytes[2] ^= 8
        return bytes
      }),
    CodeMutation(
      name: "a place filled that is no entry",
      change: when({ isConstant($0.bytes, 14) && $0.neighbour(1)?.first == 0xe8 }) { adding(8, $0.bytes) }),
    CodeMutation(
      name: "an entry of another mode filled",
      change: when({
        isConstant($0.bytes, 14) && $0.neighbour(1)?.first == 0xe8 && field($0.bytes) == 0
      }) { adding(Int32(MicroTLB.slots * 32), $0.bytes) }),
  ]

  /// MOV, CMP or JMP by an inline cache.
  private static func cacheField(_ bytes: [UInt8]) -> Int {
    guard bytes.count >= 6, case .jump(let entry) = StateLayout.region(Int(displacement(bytes)) + GuestRegisters.bias),
      StateLayout.inlineCaches.contains(entry)
    else { return -1 }
    return entry % 32
  }

  private static let tables = [
    CodeMutation(
      name: "tag not compared",
      change: when({ $0.it.kind == .compare && cacheField($0.bytes) == 0 }) { nothing($0.bytes.count) }),
    CodeMutation(
      name: "tag of the next inline cache",
      change: when({ $0.it.kind == .compare && cacheField($0.bytes) == 0 }) { adding(32, $0.bytes) }),
    CodeMutation(
      name: "way on without a look at the tag",
      change: when({ isBranch($0.bytes) && ($0.neighbour(-1).map { cacheField($0) == 0 } ?? false) }) {
        nothing($0.bytes.count)
      }),
    CodeMutation(
      name: "page as the code",
      change: when({ $0.it.kind == .jump && cacheField($0.bytes) == 8 }) { adding(8, $0.bytes) }),
    CodeMutation(
      name: "code of the next inline cache",
      change: when({ $0.it.kind == .jump && cacheField($0.bytes) == 8 }) { adding(32, $0.bytes) }),
    CodeMutation(
      name: "page of the next inline cache",
      change: when({ $0.it.kind == .move && cacheField($0.bytes) == 16 }) { adding(32, $0.bytes) }),
    CodeMutation(
      name: "offset in the data TLB beyond a set",
      change: when({
        $0.bytes.count == 7 && $0.bytes.prefix(3) == [0x41, 0x81, 0xe6] && displacement($0.bytes) == 0x1ffe0
      }) {
        adding(0x20000, $0.bytes)
      }),
    CodeMutation(
      name: "offset of another page's entry",
      change: when({ $0.bytes.count == 6 && $0.bytes[0] == 0xc4 && $0.bytes[3] == 0xf0 && $0.bytes[5] == 7 }) {
        $0.bytes.dropLast() + [8]
      }),
    CodeMutation(
      name: "offset beyond the jump cache",
      change: when({
        $0.bytes.count == 7 && $0.bytes.prefix(3) == [0x41, 0x81, 0xe6] && displacement($0.bytes) == 0x7ffe0
      }) {
        adding(0x80000, $0.bytes)
      }),
  ]

  /// SUB of a counter by 1, and JS.
  private static func isTurn(_ site: Site) -> Bool {
    guard isBranch(site.bytes), site.bytes[1] == 0x88, let before = site.neighbour(-1) else { return false }
    return before.count <= 4 && before.last == 1 && before.count >= 3 && before[before.count - 3] == 0x83
  }

  private static let loops = [
    CodeMutation(name: "turns without an end", change: when(isTurn) { nothing($0.bytes.count) }),
    CodeMutation(
      name: "turns that are not counted",
      change: when({ site in
        guard let next = site.neighbour(1), isBranch(next), next[1] == 0x88 else { return false }
        return site.bytes.count <= 4 && site.bytes.last == 1 && site.bytes.count >= 3
          && site.bytes[site.bytes.count - 3] == 0x83
      }) { $0.bytes.dropLast() + [0] }),
    CodeMutation(
      name: "turns not lowered",
      change: when({ isBranch($0.bytes) && $0.bytes[1] == 0x83 && ($0.neighbour(-1)?.prefix(2) == [0x44, 0x3b]) }) {
        [0x0f, 0x82] + $0.bytes.suffix(4)
      }),
    CodeMutation(
      name: "more turns than a page has room for",
      change: when({
        $0.bytes.count == 4 && $0.bytes.prefix(3) == [0x41, 0xc1, 0xee] && $0.bytes[3] < 7 && $0.bytes[3] > 1
      }) {
        $0.bytes.dropLast() + [$0.bytes[3] - 1]
      }),
    CodeMutation(
      name: "a copy of more than is left of the page",
      change: when({ isBranch($0.bytes) && $0.bytes[1] == 0x87 && ($0.neighbour(-1)?.prefix(3) == [0x48, 0x81, 0xf9]) })
      {
        nothing($0.bytes.count)
      }),
  ]
}
