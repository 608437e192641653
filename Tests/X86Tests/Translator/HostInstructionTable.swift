import Foundation

@testable import X86

/// The table in Tables/host-instructions.txt: guest blocks, and how many host instructions each guest instruction becomes.
struct HostInstructionTable: Equatable {
  struct Row: Equatable {
    var bytes: [UInt8]
    var text: String
    /// Host instructions on the straight path.
    var inline: Int
    /// The interpreter is called for it.
    var isInterpreted: Bool
  }

  struct Block: Equatable {
    var bits: Int
    var name: String
    var rows: [Row]
    /// Host instructions before the first guest instruction and behind the last, and what lies out of line.
    var entry = 0
    var end = 0
    var outOfLine = 0
    /// Of a loop whose accesses are checked for many turns at once: host instructions of such a turn.
    var turn = 0

    var total: Int { entry + end + rows.reduce(0) { $0 + $1.inline } }
  }

  enum Line: Equatable {
    /// A comment, a heading, an empty line: kept as it is.
    case other(String)
    case block(Block)
  }

  struct SyntaxError: Error, CustomStringConvertible {
    var line: Int
    var what: String
    var description: String { "line \(line): \(what)" }
  }

  var lines: [Line] = []

  var blocks: [Block] {
    lines.compactMap { line in
      if case .block(let block) = line { return block }
      return nil
    }
  }

  // MARK: Text

  /// Only the bytes of a row have to be there.
  init(parsing text: String) throws {
    var open: Block?
    func close() {
      if let block = open { lines.append(.block(block)) }
      open = nil
    }
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init).enumerated() {
      func refuse(_ what: String) -> SyntaxError { SyntaxError(line: index + 1, what: what) }
      if line.hasPrefix("total: ") { continue }
      if line.isEmpty || line.hasPrefix("#") {
        close()
        lines.append(.other(line))
      } else if !line.hasPrefix("  ") {
        close()
        let words = line.split(separator: " ")
        guard words.count == 2, let bits = Int(words[0]), bits == 32 || bits == 64 else {
          throw refuse("a block begins with 32 or 64 and its name")
        }
        open = Block(bits: bits, name: String(words[1]), rows: [])
      } else if line.hasPrefix("  = ") {
        let numbers = line.split { !$0.isNumber }.compactMap { Int($0) }
        guard numbers.count == 4 || numbers.count == 5 else { throw refuse("a sum has four numbers, or five") }
        open?.entry = numbers[1]
        open?.end = numbers[2]
        open?.outOfLine = numbers[3]
        open?.turn = numbers.count == 5 ? numbers[4] : 0
      } else {
        let columns = line.dropFirst(2).split(separator: "  ").map { $0.trimmingCharacters(in: .whitespaces) }
        let bytes = (columns.first ?? "").split(separator: " ").map { UInt8($0, radix: 16) }
        guard !bytes.isEmpty, !bytes.contains(nil) else { throw refuse("an instruction begins with its bytes") }
        let counted = columns.count > 2 ? columns[columns.count - 1].split(separator: " ") : []
        open?.rows.append(
          Row(
            bytes: bytes.compactMap { $0 }, text: columns.count > 1 ? columns[1] : "",
            inline: counted.first.flatMap { Int($0) } ?? 0, isInterpreted: counted.contains("interpreted")))
      }
    }
    close()
    // The newline at the end.
    if lines.last == .other("") { lines.removeLast() }
  }

  var text: String {
    var result: [String] = []
    for (index, line) in lines.enumerated() {
      switch line {
      case .other(let text): result.append(text)
      case .block(let block):
        result.append("\(block.bits) \(block.name)")
        for row in block.rows { result.append(HostInstructionTable.line(row)) }
        let parts = "entry \(block.entry), end \(block.end); \(block.outOfLine) out of line"
        let turn = block.turn > 0 ? "; \(block.turn) a turn of many" : ""
        result.append("  = \(block.total) on the path: \(parts)\(turn)")
      }
      // Behind the comment at the head.
      if index + 1 < lines.count, case .other(let text) = line, text.hasPrefix("#"), lines[index + 1] == .other(""),
        !result.contains(where: { $0.hasPrefix("total: ") })
      {
        result.append(summary)
      }
    }
    return result.joined(separator: "\n") + "\n"
  }

  var summary: String {
    let guest = blocks.reduce(0) { $0 + $1.rows.count }
    let inline = blocks.reduce(0) { $0 + $1.total }
    let outOfLine = blocks.reduce(0) { $0 + $1.outOfLine }
    let interpreted = blocks.reduce(0) { $0 + $1.rows.count { $0.isInterpreted } }
    let each = String(format: "%.2f", Double(inline) / Double(max(guest, 1)))
    return "total: \(blocks.count) blocks, \(guest) guest instructions, \(inline) host instructions on the path "
      + "(\(each) each), \(outOfLine) out of line, \(interpreted) interpreted"
  }

  static func line(_ row: Row) -> String {
    func pad(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(2, width - text.count))
    }
    let bytes = row.bytes.map { String(format: "%02x", $0) }.joined(separator: " ")
    return "  " + pad(bytes, 34) + pad(row.text, 44) + "\(row.inline)" + (row.isInterpreted ? " interpreted" : "")
  }

  // MARK: Counting

  /// Where each block is put.
  static let address: UInt64 = 0x1400

  /// The same blocks, counted anew. Counts depend on the block's bytes and mode alone: it runs at CPL 0 without paging in
  /// flat memory, its code does not count the guest's instructions, and the host has BMI2.
  func counted() throws -> HostInstructionTable {
    guard let scratch = ScratchTranslator() else { throw SyntaxError(line: 0, what: "no executable memory") }
    var table = self
    for index in lines.indices {
      guard case .block(let block) = lines[index] else { continue }
      table.lines[index] = .block(try HostInstructionTable.count(block, scratch))
    }
    return table
  }

  private static func count(_ block: Block, _ scratch: ScratchTranslator) throws -> Block {
    let machine = try InterpreterMachine(bits: block.bits)
    let bytes = block.rows.flatMap(\.bytes)
    machine.write(bytes, at: address)
    machine.cpu.translationThreshold = 0
    var decoded = try machine.cpu.findBlock(address, single: false)
    if Int(decoded.pointee.count) < block.rows.count { decoded = machine.cpu.makeRegion(decoded) ?? decoded }
    let page = machine.memory.target(address & ~0xfff).read?.assumingMemoryBound(to: UInt8.self)
    guard let page, Int(decoded.pointee.count) >= block.rows.count else {
      throw SyntaxError(
        line: 0, what: "\(block.name): its bytes are not \(block.rows.count) instructions of one block or region")
    }
    // What follows its last instruction in memory is none of it.
    decoded.pointee.count = UInt16(block.rows.count)
    decoded.pointee.bytes = UInt16(bytes.count)
    let made = CodeListing(
      decoded, page: address & ~0xfff, memory: page, counts: false, owner: nil, scratch: scratch)
    guard let listing = made else {
      throw SyntaxError(line: 0, what: "\(block.name): code of this mode is not translated")
    }
    var result = block
    result.entry = 0
    result.end = 0
    result.outOfLine = 0
    result.turn = 0
    for (index, guest) in listing.guest.enumerated() {
      guard guest.bytes == block.rows[index].bytes else {
        throw SyntaxError(line: 0, what: "\(block.name): instruction \(index + 1) has other bytes, \(guest.text)")
      }
      result.rows[index] = Row(
        bytes: guest.bytes, text: guest.text, inline: 0, isInterpreted: listing.isInterpreted(index))
    }
    for piece in listing.pieces {
      switch piece.purpose {
      case .entry: result.entry += piece.code.count
      case .instruction(let index): result.rows[index].inline += piece.code.count
      case .end: result.end += piece.code.count
      case .stridedEntry: result.turn += piece.code.count
      case .strided(let index):
        result.turn += piece.code.count
        // The branch back is one; behind it lies the way out.
        if index == block.rows.count - 1, let back = piece.code.firstIndex(where: { $0.text.hasPrefix("j") }) {
          result.turn -= piece.code.count - back - 1
        }
      default: result.outOfLine += piece.code.count
      }
    }
    return result
  }

  // MARK: Comparing

  /// What is no longer as `self` has it, a line each; rows with the old and the new number.
  func differences(from now: HostInstructionTable) -> [String] {
    var found: [String] = []
    for (old, new) in zip(blocks, now.blocks) where old != new {
      var list: [String] = []
      for (before, after) in zip(old.rows, new.rows) where before != after {
        let change = before.inline == after.inline ? "\(after.inline)" : "\(before.inline) -> \(after.inline)"
        let how =
          before.isInterpreted == after.isInterpreted
          ? "" : after.isInterpreted ? ", interpreted now" : ", translated now"
        list.append("    \(after.text): \(change)\(how)")
      }
      if old.entry != new.entry { list.append("    entry: \(old.entry) -> \(new.entry)") }
      if old.end != new.end { list.append("    end: \(old.end) -> \(new.end)") }
      if old.turn != new.turn { list.append("    a turn of many: \(old.turn) -> \(new.turn)") }
      if old.outOfLine != new.outOfLine { list.append("    out of line: \(old.outOfLine) -> \(new.outOfLine)") }
      found.append("  \(new.bits) \(new.name): \(old.total) -> \(new.total) on the path")
      found += list
    }
    return found
  }
}
