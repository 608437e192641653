import CHost

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What the translator has done: for `debugvm NAME statistics` and tests.
public struct TranslatorStatistics: Equatable, Sendable {
  /// Blocks and guest instructions translated since power-on, bytes of host code emitted for them.
  public var blocks = 0
  public var instructions = 0
  public var bytes = 0
  /// Times all code was dropped because its memory was full.
  public var flushes = 0
  /// Times emitted code was entered, and left: to link a branch, for an indirect branch, before a block, by an
  /// interpreted instruction.
  public var entries = 0
  public var linkExits = 0
  public var indirectExits = 0
  public var entryExits = 0
  public var stepExits = 0
  /// Instructions that emitted code had interpreted: TLB misses, and what is not translated.
  public var steps = 0
  /// Blocks run by the interpreter between.
  public var interpretedBlocks = 0
}

/// The code that one CPU has translated, and the memory it is in.
///
/// Code is bump-allocated; when the memory is full everything is dropped at once. A dead block's first instruction is
/// overwritten by a jump that leaves, so that every way into it ends at the dispatcher; direct branches to it are
/// unlinked as well.
final class Translator {
  static let codeBytes = 48 << 20
  static let linkCount = 1 << 19
  static let jumpCacheBits = 12
  /// The most host code one block may take.
  static let blockReserve = 64 << 10
  let memory: vm_code_memory
  /// From a writable address to the executable one.
  let distance: Int
  private(set) var cursor: UnsafeMutablePointer<UInt8>
  private let end: UnsafeMutablePointer<UInt8>
  private var firstBlock: UnsafeMutablePointer<UInt8>

  /// Executable address of the function that enters code.
  private(set) var enterThunk = UnsafeRawPointer(bitPattern: 1)!
  /// Writable addresses: have an instruction interpreted (R14: the vm_op, R15: its index); leave.
  private(set) var stepThunk: UnsafeMutablePointer<UInt8>
  private(set) var exitThunk: UnsafeMutablePointer<UInt8>
  /// Loads the vector registers; ZF: they must not be.
  private(set) var vectorThunk: UnsafeMutablePointer<UInt8>
  /// The same for the x87 state, and what stores that.
  private(set) var x87Thunk: UnsafeMutablePointer<UInt8>
  private var x87StoreThunk: UnsafeMutablePointer<UInt8>

  private let links: UnsafeMutablePointer<vm_code_link>
  private var linkCursor = 0
  private let jumpCache: UnsafeMutablePointer<vm_jump_entry>
  /// Parts of the jump key of supervisor and user code: entries of older generations are void.
  private var jumpGeneration: UInt64 = 1
  private var userGeneration: UInt64 = 1
  /// Modes that have a number, in the jump key.
  private var modes: [UInt32] = []

  /// Whether code counts the guest's instructions, so that it can stop by number.
  var counts = true
  static let hasRotate = vm_host_has_bmi2() != 0

  var statistics = TranslatorStatistics()

  /// Nil when the host refuses executable memory.
  init?(jumpCache: UnsafeMutablePointer<vm_jump_entry>, step: @escaping vm_code_step) {
    let memory = vm_code_memory_map(Self.codeBytes)
    guard let executable = memory.executable, let writable = memory.writable else { return nil }
    self.memory = memory
    distance = Int(bitPattern: executable) - Int(bitPattern: writable)
    cursor = writable
    end = writable + Self.codeBytes
    firstBlock = writable
    stepThunk = writable
    exitThunk = writable
    vectorThunk = writable
    x87Thunk = writable
    x87StoreThunk = writable
    // Pages that are never written stay unallocated.
    links = calloc(Self.linkCount, MemoryLayout<vm_code_link>.stride)!.assumingMemoryBound(to: vm_code_link.self)
    self.jumpCache = jumpCache
    clearJumps()
    emitThunks(vm_code_step_address(step))
  }

  deinit {
    vm_code_memory_unmap(memory)
    free(links)
  }

  var bytesInUse: Int { cursor - memory.writable }

  var hasRoom: Bool { end - cursor > Self.blockReserve && linkCursor + 8 < Self.linkCount }

  func executable(_ writable: UnsafeMutablePointer<UInt8>) -> UInt64 {
    UInt64(UInt(bitPattern: writable)) &+ UInt64(bitPattern: Int64(distance))
  }

  func writable(_ executable: UInt64) -> UnsafeMutablePointer<UInt8> {
    let address = UInt(executable &- UInt64(bitPattern: Int64(distance)))
    return UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  /// Takes the code up to `to` as used.
  func advance(to: UnsafeMutablePointer<UInt8>) {
    let bytes = UInt(bitPattern: to) &+ 15 & ~15
    cursor = UnsafeMutablePointer(bitPattern: bytes).unsafelyUnwrapped
  }

  func makeLink(site: UnsafeMutablePointer<UInt8>, unlinked: UnsafeMutablePointer<UInt8>) -> UnsafeMutablePointer<vm_code_link> {
    let link = links + linkCursor
    linkCursor += 1
    link.initialize(to: vm_code_link(next: nil, site: site, unlinked: unlinked))
    return link
  }

  /// Makes a branch lead straight to `block`.
  func connect(_ link: UnsafeMutablePointer<vm_code_link>, to block: UnsafeMutablePointer<vm_block>) {
    Assembler.patch(link.pointee.site, writable(block.pointee.code))
    link.pointee.next = block.pointee.incoming
    block.pointee.incoming = link
  }

  /// The block's bytes have been overwritten: no way leads into its code any more.
  func kill(_ block: UnsafeMutablePointer<vm_block>) {
    guard block.pointee.code != 0 else { return }
    // The first instruction compares `pending` and branches to the way out: go there at once.
    let entry = writable(block.pointee.code)
    let branch = entry + BlockTranslator.pendingCheckBytes
    let displacement = UnsafeMutableRawPointer(branch + 2).loadUnaligned(as: Int32.self)
    let out = branch + 6 + Int(displacement)
    entry.pointee = 0xe9
    Assembler.patch(entry + 1, out)
    var link = block.pointee.incoming
    while let each = link {
      Assembler.patch(each.pointee.site, each.pointee.unlinked)
      link = each.pointee.next
      each.pointee.next = nil
    }
    block.pointee.incoming = nil
    block.pointee.code = 0
  }

  /// Drops all code; every block that has some is dropped too.
  func reset() {
    cursor = firstBlock
    linkCursor = 0
    invalidateJumps()
    statistics.flushes += 1
  }

  // MARK: The jump cache

  /// Targets that the jump cache holds may mean something else now.
  func invalidateJumps() {
    invalidateJumps(set: VM_MMU_SUPERVISOR)
    invalidateJumps(set: VM_MMU_USER)
  }

  /// A translation of the fetch TLB's `set` has been dropped.
  func invalidateJumps(set: Int) {
    if set == VM_MMU_USER { userGeneration &+= 1 } else { jumpGeneration &+= 1 }
    if jumpGeneration > 0x7ff || userGeneration > 0x7ff { clearJumps() }
  }

  private func clearJumps() {
    jumpGeneration = 1
    userGeneration = 1
    let bytes = MemoryLayout<vm_jump_entry>.stride << Self.jumpCacheBits
    UnsafeMutableRawPointer(jumpCache).initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
  }

  /// Bits 48 to 62: the generation and the mode's number.
  func jumpKey(_ mode: UInt32) -> UInt64 {
    var number = 0
    while number < modes.count && modes[number] != mode { number += 1 }
    if number == modes.count {
      if number == 16 {
        modes.removeAll(keepingCapacity: true)
        clearJumps()
        number = 0
      }
      modes.append(mode)
    }
    let isUser = Int(mode &>> UInt32(VM_MODE_MMU_SHIFT)) & 3 == VM_MMU_USER
    return ((isUser ? userGeneration : jumpGeneration) &<< 4 | UInt64(number)) &<< 48
  }

  func fillJump(_ rip: UInt64, key: UInt64, code: UInt64) {
    let low = UInt32(truncatingIfNeeded: rip)
    let slot = Int((low ^ low &>> 6) & (1 &<< UInt32(Self.jumpCacheBits) &- 1))
    jumpCache[slot] = vm_jump_entry(tag: rip ^ key, code: code, page: rip & ~0xfff, reserved: 0)
  }

  // MARK: Thunks

  private func emitThunks(_ step: UInt64) {
    var a = Assembler(cursor: cursor)
    let pushed = [Host.rbx, Host.rbp, Host.r12, Host.r13, Host.r14, Host.r15]
    enterThunk = UnsafeRawPointer(bitPattern: UInt(executable(a.cursor))) ?? enterThunk
    for register in pushed { push(&a, register) }
    a.arithmetic(5, .register(Host.rsp), 8, size: 8)
    a.emit(0x8d, Host.rbp, .at(Host.rdi, GuestRegisters.bias), size: 8)
    a.move(Host.r14, Host.rsi)
    fill(&a)
    a.emit(0xff, 4, .register(Host.r14), size: 4)  // jmp r14

    x87StoreThunk = a.cursor
    emitX87Store(&a)
    x87Thunk = a.cursor
    emitX87Load(&a)

    exitThunk = a.cursor
    spill(&a)
    a.arithmetic(7, StateField.x87Ready, 0, size: 4)
    let noX87 = a.jumpIf(Condition.equal)
    a.call(x87StoreThunk)
    Assembler.patch(noX87, a.cursor)
    a.arithmetic(7, StateField.vectorReady, 0, size: 4)
    let noVectors = a.jumpIf(Condition.equal)
    moveVectors(&a, load: false)
    Assembler.patch(noVectors, a.cursor)
    let leave = a.cursor
    a.arithmetic(0, .register(Host.rsp), 8, size: 8)
    for register in pushed.reversed() { pop(&a, register) }
    a.byte(0xc3)

    // Two kinds of step: vectors that were loaded before are loaded again after.
    stepThunk = a.cursor
    a.arithmetic(7, StateField.vectorReady, 0, size: 4)
    let withVectors = a.jumpIf(Condition.notEqual)
    emitStepBody(&a, step, vectors: false, leave)
    Assembler.patch(withVectors, a.cursor)
    emitStepBody(&a, step, vectors: true, leave)

    vectorThunk = a.cursor
    a.arithmetic(7, StateField.vectorsAllowed, 0, size: 4)
    let refused = a.jumpIf(Condition.equal)
    moveVectors(&a, load: true)
    // ZF is clear: the comparison above was not equal.
    Assembler.patch(refused, a.cursor)
    a.byte(0xc3)
    advance(to: a.cursor)
    firstBlock = cursor
  }

  private func push(_ a: inout Assembler, _ register: UInt8) {
    if register >= 8 { a.byte(0x41) }
    a.byte(0x50 | register & 7)
  }

  private func pop(_ a: inout Assembler, _ register: UInt8) {
    if register >= 8 { a.byte(0x41) }
    a.byte(0x58 | register & 7)
  }

  private func spill(_ a: inout Assembler) {
    a.store(StateField.rawFlags, Host.rax, size: 4)
    for (guest, host) in GuestRegisters.resident { a.store(GuestRegisters.slot(guest), host) }
  }

  private func fill(_ a: inout Assembler) {
    for (guest, host) in GuestRegisters.resident { a.load(host, GuestRegisters.slot(guest)) }
    a.load(Host.rax, StateField.rawFlags, size: 4)
  }

  /// Has the interpreter run an instruction; the stack is that of a call from a block.
  private func emitStepBody(
    _ a: inout Assembler, _ step: UInt64, vectors: Bool, _ leave: UnsafeMutablePointer<UInt8>
  ) {
    a.arithmetic(5, .register(Host.rsp), 8, size: 8)
    spill(&a)
    if vectors { moveVectors(&a, load: false) }
    a.emit(0x8d, Host.rdi, .at(GuestRegisters.state, -GuestRegisters.bias), size: 8)
    a.move(Host.rsi, Host.r14)
    a.move(Host.rdx, Host.r15, size: 4)
    // The word above the return address remembers whether the x87 state is to be loaded again.
    a.load(Host.rax, StateField.x87Ready, size: 4)
    a.store(.at(Host.rsp, 0), Host.rax)
    a.emit(0x85, Host.rax, .register(Host.rax), size: 4)
    let noX87 = a.jumpIf(Condition.equal)
    a.call(x87StoreThunk)
    Assembler.patch(noX87, a.cursor)
    a.moveImmediate(Host.rax, step)
    a.emit(0xff, 2, .register(Host.rax), size: 4)  // call rax
    a.emit(0x85, Host.rax, .register(Host.rax), size: 4)
    let goesOn = a.jumpIf(Condition.equal)
    a.arithmetic(0, .register(Host.rsp), 16, size: 8)
    a.jump(to: leave)
    Assembler.patch(goesOn, a.cursor)
    if vectors { moveVectors(&a, load: true) }
    a.arithmetic(7, .at(Host.rsp, 0), 0, size: 4)
    let stays = a.jumpIf(Condition.equal)
    a.call(x87Thunk)
    Assembler.patch(stays, a.cursor)
    fill(&a)
    a.arithmetic(0, .register(Host.rsp), 8, size: 8)
    a.byte(0xc3)
  }

  /// The guest's XMM registers and MXCSR from the state to the host's, or back. Flags are left alone.
  private func moveVectors(_ a: inout Assembler, load: Bool) {
    for number in 0..<16 {
      let place = HostOperand.at(GuestRegisters.state, StateField.xmm + number * 16 - GuestRegisters.bias)
      a.emit(load ? 0x0f28 : 0x0f29, UInt8(number), place, size: 4)
    }
    if load {
      a.emit(0x0fae, 2, StateField.mxcsr, size: 4)
    } else {
      a.emit(0x0fae, 3, StateField.mxcsr, size: 4)
      a.emit(0x0fae, 2, StateField.hostMXCSR, size: 4)
    }
    a.emit(0xc7, 0, StateField.vectorReady, size: 4)
    a.word32(load ? 1 : 0)
  }
}
