import CHost

/// A block's guest instructions beside the host instructions that they have become.
///
/// Where each begins is not kept: the block is translated once more, into memory of the listing's own, and that
/// translation is watched.
struct CodeListing {
  struct Host {
    /// From the start of the block's code.
    var offset: Int
    var bytes: [UInt8]
    var text: String
  }

  struct Guest {
    var address: UInt64
    var bytes: [UInt8]
    var text: String
  }

  struct Piece {
    var purpose: CodeObserver.Purpose
    var code: [Host]
  }

  let mode: UInt32
  let start: UInt64
  let guest: [Guest]
  let pieces: [Piece]
  /// Of host code, as translated now.
  let bytes: Int
  /// That is what the guest runs; else the block has no code yet or was translated under other circumstances.
  let isCurrent: Bool

  /// - Parameters:
  ///   - block: of RAM or ROM, alive.
  ///   - page: RIP of its page's first byte.
  ///   - memory: the page's bytes.
  ///   - counts: whether code counts the guest's instructions.
  ///   - owner: the translator that the block's code belongs to, if there is one.
  /// - Returns: nil when blocks of this mode are not translated.
  init?(
    _ block: UnsafeMutablePointer<vm_block>, page: UInt64, memory: UnsafePointer<UInt8>, counts: Bool,
    owner: Translator?, scratch: ScratchTranslator
  ) {
    guard BlockTranslator.handles(block.pointee.mode) else { return nil }
    mode = block.pointee.mode
    start = page &+ UInt64(block.pointee.start)
    let count = Int(block.pointee.count)
    let bits = CodeListing.bits(mode)
    let from = Int(block.pointee.start)
    guest = (0..<count).map { index in
      let op = block.ops[index]
      let address = page &+ UInt64(from) &+ UInt64(op.offset)
      let bytes = (0..<Int(op.length)).map { memory[from + Int(op.offset) + $0] }
      return Guest(
        address: address, bytes: bytes, text: Disassembler.instruction(bytes, bits: bits, address: address).text)
    }

    let observer = CodeObserver()
    let (fresh, length) = scratch.translate(block, counts: counts, observer: observer)
    bytes = length
    isCurrent = block.pointee.code != 0 && Int(block.pointee.code_bytes) == length && owner != nil
    var names = CodeNames(translator: scratch.translator, start: fresh, length: length)
    var code = fresh
    if isCurrent, let owner {
      code = owner.writable(block.pointee.code)
      names = CodeNames(translator: owner, start: code, length: length)
    }
    let marks = observer.marks
    pieces = marks.indices.map { index in
      let first = marks[index].start - fresh
      let last = index + 1 < marks.count ? marks[index + 1].start - fresh : length
      return Piece(purpose: marks[index].purpose, code: CodeListing.read(code, first..<last, names))
    }
  }

  static func bits(_ mode: UInt32) -> Int {
    switch mode & UInt32(VM_MODE_CODE_MASK) {
    case UInt32(VM_MODE_CODE64): 64
    case UInt32(VM_MODE_CODE32): 32
    default: 16
    }
  }

  private static func read(_ code: UnsafeMutablePointer<UInt8>, _ range: Range<Int>, _ names: CodeNames) -> [Host] {
    var list: [Host] = []
    var offset = range.lowerBound
    while offset < range.upperBound {
      let window = (0..<min(15, range.upperBound - offset)).map { code[offset + $0] }
      let read = HostDisassembler.instruction(window)
      let length = min(read.length, window.count)
      list.append(Host(offset: offset, bytes: Array(window.prefix(length)), text: names.text(read, offset)))
      offset += length
    }
    return list
  }

  /// Whether a guest instruction's inline code is nothing but a call of the interpreter.
  func isInterpreted(_ index: Int) -> Bool {
    pieces.contains { $0.purpose == .instruction(index) && $0.code.contains { $0.text == "call interpreter" } }
  }
}

/// A translator whose code nobody runs.
final class ScratchTranslator {
  let translator: Translator
  private let jumpCache: UnsafeMutablePointer<vm_jump_entry>

  /// Nil when the host refuses executable memory.
  init?() {
    jumpCache = .allocate(capacity: Translator.jumpEntries)
    guard let translator = Translator(jumpCache: jumpCache, codeBytes: 1 << 20, emptyTag: 0, step: CPU.stepFromCode)
    else {
      jumpCache.deallocate()
      return nil
    }
    self.translator = translator
  }

  deinit { jumpCache.deallocate() }

  /// Translates a copy of `block`. The code stays until the next call.
  func translate(
    _ block: UnsafeMutablePointer<vm_block>, counts: Bool, observer: CodeObserver
  ) -> (code: UnsafeMutablePointer<UInt8>, length: Int) {
    // The head is as long as two vm_ops; what ends the instructions and the links follow them.
    let bytes = MemoryLayout<vm_op>.stride * (Int(block.pointee.count) + 4)
    let copy = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
    defer { copy.deallocate() }
    copy.copyMemory(from: block, byteCount: bytes)
    let head = copy.bindMemory(to: vm_block.self, capacity: 1)
    head.pointee.code = 0
    head.pointee.incoming = nil
    translator.reset()
    translator.counts = counts
    let code = translator.cursor
    var work = BlockTranslator(translator: translator, block: head)
    work.observer = observer
    work.translate()
    return (code, Int(head.pointee.code_bytes))
  }
}
