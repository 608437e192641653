import CHost

@testable import X86

/// A random program of blocks that branch to each other, in a machine whose paging structures it may change.
struct PagedProgram {
  /// How a block ends.
  enum Exit {
    case fallThrough
    case jump(Int)
    case condition(UInt8, Int)
    /// LOOPNE, LOOPE, LOOP, JRCXZ: E0 to E3.
    case count(UInt8, Int)
    case call(Int)
    case ret
    case register(Int)
    /// By the table, from CL.
    case table(isCall: Bool)
    /// Through memory at RSP plus a displacement, where the target has been stored just before.
    case stack(Int, UInt8, isCall: Bool)
    case undefined
    case breakpoint
  }

  struct Block {
    /// Instructions, or a few that belong together.
    var pieces: [[UInt8]]
    var exit: Exit
  }

  var compat: Bool
  var user: Bool
  var smap = false
  /// CR0.WP.
  var protects = true
  /// Interpreted runs of a block before it is translated: with none, no block knows its successors.
  var threshold: UInt8 = 0
  /// Every so many accesses to the device ask for an interrupt; with 0 nothing does.
  var patience = 3
  var blocks: [Block] = []
  /// Of the first block, in the code pages.
  var start = 0
  var registers = [UInt64](repeating: 0, count: 16)
  var flags: UInt64 = 2
  /// Physical addresses of paging-structure entries and what they hold at first.
  var entries: [(UInt64, UInt64)] = []
  var changes: [PagedMachine.Change] = [PagedMachine.Change(entry: 0, value: 0, drop: 0)]
  /// What each data frame holds.
  var data: [UInt8] = []
  /// Instructions to run between looks, and whether an interrupt comes then.
  var turns: [(budget: Int, interrupts: Bool)] = []

  /// The code with its addresses filled in.
  var image: PagedImage {
    var image = laidOut(flipping: false)
    image.otherPage = Array(laidOut(flipping: true).code[0x1000...])
    return image
  }

  /// - Parameter flipping: every condition is its opposite.
  private func laidOut(flipping: Bool) -> PagedImage {
    var offsets: [Int] = []
    var offset = start
    for block in blocks {
      offsets.append(offset)
      offset += block.pieces.reduce(0) { $0 + $1.count } + size(block.exit)
    }
    var code = [UInt8](repeating: 0xcc, count: Int(PagedMachine.codeBytes))
    var at = start
    func put(_ bytes: [UInt8]) {
      for byte in bytes where at < code.count {
        code[at] = byte
        at += 1
      }
    }
    // A program that is made smaller keeps targets that it has no more.
    func place(_ target: Int) -> Int { offsets[min(target, offsets.count - 1)] }
    func relative(_ target: Int, _ prefix: [UInt8]) {
      let end = at + prefix.count + 4
      put(prefix + Self.little(UInt64(bitPattern: Int64(place(target) - end)), 4))
    }
    for block in blocks {
      for piece in block.pieces { put(piece) }
      switch block.exit {
      case .fallThrough: break
      case .jump(let target): relative(target, [0xe9])
      case .condition(let condition, let target): relative(target, [0x0f, 0x80 | condition ^ (flipping ? 1 : 0)])
      case .count(let opcode, let target):
        put([opcode, 2, 0xeb, 5])
        relative(target, [0xe9])
      case .call(let target): relative(target, [0xe8])
      case .ret: put([0xc3])
      case .register(let target):
        put([0xb8] + Self.little(PagedMachine.window + UInt64(place(target)), 4) + [0xff, 0xe0])
      case .table(let isCall):
        let sib: UInt8 = compat ? 0x85 : 0xc5
        put([0x0f, 0xb6, 0xc1, 0xff, isCall ? 0x14 : 0x24, sib] + Self.little(PagedMachine.jumpTable, 4))
      case .stack(let target, let disp, let isCall):
        put([0xb8] + Self.little(PagedMachine.window + UInt64(place(target)), 4))
        put((compat ? [] : [0x48]) + [0x89, 0x44, 0x24, disp, 0xff, isCall ? 0x54 : 0x64, 0x24, disp])
      case .undefined: put([0x0f, 0x0b])
      case .breakpoint: put([0xcc])
      }
    }
    // The last block falls back to the first.
    if at + 5 <= code.count { relative(0, [0xe9]) }
    let labels = offsets.map { PagedMachine.window + UInt64($0) }
    return PagedImage(code: code, labels: labels, jumpTargets: (0..<256).map { labels[($0 * 5 + 3) % labels.count] })
  }

  private func size(_ exit: Exit) -> Int {
    switch exit {
    case .fallThrough: 0
    case .jump, .call: 5
    case .condition: 6
    case .count: 9
    case .ret, .breakpoint: 1
    case .register: 7
    case .table: 10
    case .stack: compat ? 13 : 14
    case .undefined: 2
    }
  }

  static func little(_ value: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
  }

  /// For a report: what it takes to run it again by hand.
  var text: String {
    func hex(_ bytes: [UInt8]) -> String { bytes.map { CodeNames.hex($0, 2) }.joined(separator: " ") }
    let code = blocks.enumerated().map { index, block in
      "L\(index): " + (block.pieces.map(hex) + ["\(block.exit)"]).joined(separator: " | ")
    }
    let numbers = registers.map { String($0, radix: 16) }.joined(separator: " ")
    return """
      \(compat ? "compatibility" : "64-bit") code, CPL \(user ? 3 : 0), SMAP \(smap), WP \(protects), threshold \(threshold), patience \(patience), start \(start), \
      flags \(String(flags, radix: 16)), registers \(numbers), turns \(turns.map { "\($0.budget)\($0.interrupts ? "!" : "")" })
      \(code.joined(separator: "\n"))
      """
  }
}

extension PagedProgram {
  /// A program written by hand, 64-bit unless `compat`, translated at once. Frames of neighbouring pages are none.
  ///
  /// - Parameter turns: instructions to run between looks.
  init(_ blocks: [Block], turns: [Int], rbx: UInt64, compat: Bool = false) throws {
    var generator = try PagedGenerator(seed: 1, compat: compat, pages: false)
    self = generator.program()
    self.blocks = blocks
    self.turns = turns.map { ($0, false) }
    start = 0x100
    threshold = 0
    patience = 0
    registers[3] = rbx
    registers[10] = 0x1234
    for page in [8, 9] { entries.append((PagedMachine.tableEntry(page), PagedMachine.frame(page * 3 - 15) | 0x67)) }
  }
}

/// A program laid out.
struct PagedImage {
  var code: [UInt8]
  /// What may be mapped in the place of the second page of code.
  var otherPage: [UInt8] = []
  /// Addresses of the blocks.
  var labels: [UInt64]
  var jumpTargets: [UInt64]
}
