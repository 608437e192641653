import CHost

/// Why a block's code was refused.
public struct CodeRefusal: Error, Equatable, Sendable, CustomStringConvertible {
  /// Of the host instruction, in bytes from the block's start.
  public var offset: Int
  /// In Intel's notation, or the bytes of what cannot be decoded.
  public var instruction: String
  /// What could not be proved of it.
  public var reason: String

  public var description: String { "+\(CodeNames.hex(offset, 4)) \(instruction): \(reason)" }
}

/// The code of a block to be verified, and what it may refer to.
struct EmittedBlock {
  var code: UnsafeMutablePointer<UInt8>
  var length: Int
  var block: UnsafeMutablePointer<vm_block>
  /// The branches that may be linked to other blocks.
  var links: UnsafeBufferPointer<vm_code_link>
}

/// Proves of a block's host code that it cannot leave the guest, knowing nothing of how it was made.
///
/// The code is decoded whole (`HostInstruction`, by Zydis), and followed from its entry along every way. What is known on a way
/// is a `VerifierState`: for each register a value (`HostValue`) where it is a sum of what other places hold, or something
/// on the way through a check; and facts, each of which says that some bytes may be accessed. Where ways meet, what holds on
/// all of them holds on; a loop is followed until nothing more is lost. An example, of MOV RBX, [RSI+8]:
///
///     lea r15, [rsi+8]          R15 = rsi + 8
///     xor r15, [rbp+entry]      R15 = (rsi + 8) ^ the read tag of entry 5
///     cmp r15, 4088
///     ja  miss                  on the way on: rsi + addend of entry 5, from 8 up to 16, may be read
///     mov r14, [rbp+entry+16]   R14 = addend of entry 5
///     mov rbx, [rsi+r14+8]      rsi + addend of entry 5 + 8, eight bytes: proved by the fact
///
/// Facts are about places, not values: an instruction that writes RSI ends that fact, or moves it by a constant; what
/// fills entry 5 ends it; what writes R14 leaves the fact, but R14 is no addend any more, and the access is refused. A
/// tag is a page's address or leads nowhere: that, what the functions do that emitted code calls (`VerifierBranches`),
/// and what the interpreter may change when it runs an instruction (`GuestEffects`) are all that is taken on trust.
///
/// For the checks of many turns of a loop there are two more kinds of facts: that as many steps as a counter says stay within
/// the page, and that a register of 32 bits does not wrap in them. They come of comparing what is left of a page, divided by
/// the step, with the counter; each turn that is taken from the counter moves them by a step, and so brings them to where they
/// were when the loop's registers have moved.
///
/// Besides: a branch leads to an instruction of the block, an indirect one by an entry whose tag was compared; only fields
/// that are emitted code's are written; what is the host's own (addends, pointers) reaches neither guest memory nor a guest
/// register when code is left; RSP and RBP stay what they are; vector and x87 registers are used once they are the guest's.
/// Not proved: that the guest computes what it should, that a division or an access by vector registers that must be aligned
/// does not trap, and that code ends.
final class CodeVerifier {
  /// Instructions may be followed this many times as often as there are, until what is known must be the same each time.
  private static let patience = 64
  /// A way that has joined others this often loses what it does not have in common with them.
  private static let indulgence = 4
  private static let deepest = 48

  unowned let translator: Translator
  private let reader = HostInstructionReader()
  var instructions: ContiguousArray<HostInstruction> = []
  /// By offset: the instruction's number, or -1.
  private var numbers: ContiguousArray<Int32> = []
  /// By instruction: branches lead there.
  private var isLabel: ContiguousArray<Bool> = []
  /// By instruction: the displacement of a branch that may be linked.
  private var isLink: ContiguousArray<Bool> = []
  /// By instruction: what is known where ways meet.
  private var meetings: ContiguousArray<Meeting> = []
  private var pending: [Int] = []
  private var fuel = 0
  var emitted: EmittedBlock
  var is64 = true
  var set = 0
  var linkAddresses: [UInt64] = []

  private struct Meeting {
    var state: VerifierState?
    var visits = 0
    var isPending = false
  }
  /// States that nobody uses.
  private var spare: [VerifierState] = []

  init(_ translator: Translator) {
    self.translator = translator
    emitted = EmittedBlock(
      code: translator.memory.writable, length: 0, block: UnsafeMutablePointer(bitPattern: 8)!,
      links: UnsafeBufferPointer(start: nil, count: 0))
  }

  /// Throws what cannot be proved first.
  func verify(_ emitted: EmittedBlock) throws(CodeRefusal) {
    self.emitted = emitted
    is64 = emitted.block.pointee.mode & UInt32(VM_MODE_CODE64) != 0
    set = Int((emitted.block.pointee.mode >> UInt32(VM_MODE_MMU_SHIFT)) & 3)
    try decode()
    fuel = Self.patience * instructions.count + 1000
    pending.removeAll(keepingCapacity: true)
    guard Int64(emitted.length) > DeadEntries.callBytes + 4 else {
      throw refuse(0, "the block is too short to be patched")
    }
    let start = spare.popLast() ?? VerifierState()
    start.clear()
    for register in [Host.rsp, Host.rbp, Host.r14, Host.r15] { start.setForeign(register, true) }
    try follow(0, start, depth: 0)
    while let next = pending.min() {
      pending.removeAll { $0 == next }
      guard meetings[next].isPending, let state = meetings[next].state else { continue }
      meetings[next].isPending = false
      try run(next, copy(state), depth: 0)
    }
  }

  private func copy(_ state: VerifierState) -> VerifierState {
    let copy = spare.popLast() ?? VerifierState()
    copy.take(state)
    return copy
  }

  private func giveBack(_ state: VerifierState) { spare.append(state) }

  func refuse(_ number: Int, _ reason: String) -> CodeRefusal {
    let it = number < instructions.count ? instructions[number] : HostInstruction()
    return CodeRefusal(
      offset: it.offset, instruction: HostInstruction.text(emitted.code + it.offset, emitted.length - it.offset),
      reason: reason)
  }

  // MARK: Decoding

  private func decode() throws(CodeRefusal) {
    instructions.removeAll(keepingCapacity: true)
    numbers.removeAll(keepingCapacity: true)
    numbers.append(contentsOf: repeatElement(-1, count: emitted.length))
    var offset = 0
    while offset < emitted.length {
      guard let it = reader.read(emitted.code, offset, emitted.length) else {
        instructions.append(HostInstruction(offset: offset))
        throw refuse(instructions.count - 1, "not an instruction")
      }
      numbers[offset] = Int32(instructions.count)
      instructions.append(it)
      offset += it.length
    }
    let count = instructions.count
    guard count <= Places.mostInstructions else { throw refuse(0, "more instructions than a block has") }
    isLabel.removeAll(keepingCapacity: true)
    isLabel.append(contentsOf: repeatElement(false, count: count))
    isLink.removeAll(keepingCapacity: true)
    isLink.append(contentsOf: repeatElement(false, count: count))
    for index in meetings.indices { if let state = meetings[index].state { giveBack(state) } }
    meetings.removeAll(keepingCapacity: true)
    meetings.append(contentsOf: repeatElement(Meeting(), count: count))
    for number in 0..<count {
      guard instructions[number].kind == .jump || instructions[number].kind == .conditionalJump,
        let target = instructions[number].target, target >= 0, target < emitted.length
      else { continue }
      guard numbers[target] >= 0 else { throw refuse(number, "leads into an instruction") }
      isLabel[Int(numbers[target])] = true
    }
    linkAddresses.removeAll(keepingCapacity: true)
    for link in emitted.links.indices {
      let end = emitted.links[link].site + 4 - emitted.code
      let number = (end == emitted.length ? count : end > 0 && end < emitted.length ? Int(numbers[end]) : 0) - 1
      guard number >= 0, instructions[number].kind == .jump || instructions[number].kind == .conditionalJump,
        instructions[number].target == emitted.links[link].unlinked - emitted.code
      else { throw refuse(max(number, 0), "a link is not at a branch that leads to where it says") }
      isLink[number] = true
      if let base = emitted.links.baseAddress { linkAddresses.append(UInt64(UInt(bitPattern: base + link))) }
    }
  }

  /// Ways meet before the instruction.
  func isMeeting(_ number: Int) -> Bool { isLabel[number] }

  // MARK: Following

  /// A way with `state`, which is used up, leads to instruction `number`.
  private func follow(_ number: Int, _ state: VerifierState, depth: Int) throws(CodeRefusal) {
    guard isLabel[number] || depth >= Self.deepest else { return try run(number, state, depth: depth) }
    // What lies out of line is followed at once, so that it has joined the straight way before that is followed.
    let isOutOfLine = number > 0 && instructions[number - 1].kind == .jump
    guard join(number, state), isOutOfLine, depth < Self.deepest, let meeting = meetings[number].state else {
      return giveBack(state)
    }
    meetings[number].isPending = false
    state.take(meeting)
    try run(number, state, depth: depth + 1)
  }

  /// Returns whether less is known at the instruction than before.
  private func join(_ number: Int, _ state: VerifierState) -> Bool {
    guard let known = meetings[number].state else {
      meetings[number] = Meeting(state: copy(state), visits: 0, isPending: true)
      pending.append(number)
      return true
    }
    let visits = meetings[number].visits
    guard known.meet(state, isFinal: visits > Self.indulgence) else { return false }
    meetings[number].visits = visits + 1
    if !meetings[number].isPending {
      meetings[number].isPending = true
      pending.append(number)
    }
    return true
  }

  /// Follows the straight way from an instruction on. `state` is used up.
  private func run(_ first: Int, _ state: VerifierState, depth: Int) throws(CodeRefusal) {
    var number = first
    while true {
      guard number < instructions.count else { throw refuse(instructions.count - 1, "the code ends without a branch") }
      if number != first && isLabel[number] {
        let isPending = meetings[number].isPending
        let changed = join(number, state)
        // What others have found there is followed now as well.
        guard changed || isPending, let meeting = meetings[number].state else { return giveBack(state) }
        meetings[number].isPending = false
        state.take(meeting)
      }
      fuel -= 1
      guard fuel > 0 else { throw refuse(number, "what is known here is another each time") }
      switch instructions[number].kind {
      case .refused: throw refuse(number, "an instruction that emitted code does not have")
      case .conditionalJump:
        guard let target = instructions[number].target, target >= 0, target < emitted.length else {
          throw refuse(number, "leads out of the block")
        }
        if isLink[number] { try requireGuestRegisters(number, state) }
        let taken = copy(state)
        split(instructions[number].condition, state, taken, number)
        try follow(Int(numbers[target]), taken, depth: depth)
      case .jump:
        guard let target = instructions[number].target, target >= 0, target < emitted.length else {
          try leave(number, state)
          return giveBack(state)
        }
        if isLink[number] { try requireGuestRegisters(number, state) }
        state.flags = .unknown
        return try follow(Int(numbers[target]), state, depth: depth)
      case .call:
        if try !call(number, state) { return giveBack(state) }
      default:
        let flags = state.flags
        try execute(number, state)
        // A counter that nobody has looked at is none.
        if case .decremented(let counter) = flags { state.removeFacts { $0.counter == counter } }
      }
      number += 1
    }
  }
}
