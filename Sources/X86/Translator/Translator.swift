import CHost

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What the translator has done: for `debugvm NAME statistics` and tests.
public struct TranslatorStatistics: Equatable, Sendable {
  /// Blocks translated since power-on.
  public var blocks = 0
  /// Those of them that are regions: several blocks as one.
  public var regions = 0
  /// Those that are loops whose accesses are checked for many turns at once.
  public var stridedLoops = 0
  /// Guest instructions that were translated.
  public var instructions = 0
  /// Bytes of host code that were emitted.
  public var bytes = 0
  /// Blocks whose code the verifier has accepted.
  public var verifiedBlocks = 0
  /// Blocks whose code the verifier has refused; they are interpreted.
  public var refusedBlocks = 0
  /// What was refused last.
  public var lastRefusal: CodeRefusal?
  /// Times all code was dropped, with what it was decoded from.
  public var flushes = 0
  /// Times the oldest part of the code made room for new.
  public var evictions = 0
  /// Blocks whose code gave way to others'.
  public var evictedBlocks = 0
  /// The longest that the guest stood still for one of those times, in nanoseconds.
  public var longestEviction: UInt64 = 0
  /// Times emitted code was entered.
  public var entries = 0
  /// Ways out of emitted code because a branch was not linked yet.
  public var linkExits = 0
  /// Ways out because the jump cache did not know a target.
  public var indirectExits = 0
  /// Ways out at a block's entry: an interrupt or the end of the budget.
  public var entryExits = 0
  /// Ways out for an instruction that the interpreter runs.
  public var stepExits = 0
  /// Instructions that emitted code had interpreted: TLB misses, and what is not translated.
  public var steps = 0
  /// Indirect branches that led to so many places that they have no inline cache any more.
  public var wanderers = 0
  /// Blocks run by the interpreter between.
  public var interpretedBlocks = 0
}

/// The code that one CPU has translated, and the memory it is in.
///
/// Its memory is a ring of regions, filled one after the other; when all are full the oldest one's code makes room, which
/// takes less than a millisecond. A dead block's entry is overwritten, so that every way into it ends at what has come in its
/// place, or at the dispatcher (see `DeadEntries`); direct branches to it are unlinked as well.
final class Translator {
  static let codeBytes = 48 << 20
  /// Of code and of links, where code memory has its normal size.
  private static let regionBytes = 512 << 10
  /// Links that a region's code may have; on average a block has two in some 300 bytes.
  private static let regionLinks = 5 << 10
  static let jumpCacheBits = 14
  /// The most host code that one instruction takes, and a block besides.
  private static let instructionReserve = 1 << 10
  let memory: vm_code_memory
  /// From a writable address to the executable one.
  let distance: Int
  private(set) var cursor: UnsafeMutablePointer<UInt8>
  private var end: UnsafeMutablePointer<UInt8>
  private var firstBlock: UnsafeMutablePointer<UInt8>

  private let regionCount: Int
  private let regionBytes: Int
  /// The region being filled, and the last block of each.
  private var region = 0
  private let newest: UnsafeMutablePointer<UnsafeMutablePointer<vm_block>?>
  /// Links used of each region's share.
  private let linksUsed: UnsafeMutablePointer<Int>

  /// Executable address of the function that enters code.
  private(set) var enterThunk = UnsafeRawPointer(bitPattern: 1)!
  /// Writable addresses: have an instruction interpreted (R14: the vm_op, R15: its index); leave.
  private(set) var stepThunk: UnsafeMutablePointer<UInt8>
  /// As `stepThunk`, where the rest of the block counts on neither vector registers nor the x87 state being loaded.
  private(set) var plainStepThunk: UnsafeMutablePointer<UInt8>
  private(set) var exitThunk: UnsafeMutablePointer<UInt8>
  /// Loads the vector registers; ZF: they must not be.
  private(set) var vectorThunk: UnsafeMutablePointer<UInt8>
  /// The same for the x87 state, and what stores that.
  private(set) var x87Thunk: UnsafeMutablePointer<UInt8>
  private var x87StoreThunk: UnsafeMutablePointer<UInt8>

  /// What fills a micro-TLB entry: at twice the set, plus 1 for those that must be writable.
  private(set) var fillThunks: [UnsafeMutablePointer<UInt8>] = []
  /// The same for an entry of the data TLB.
  private(set) var missThunks: [UnsafeMutablePointer<UInt8>] = []
  private(set) var walkThunk: UnsafeMutablePointer<UInt8>
  /// Finds the target of an indirect branch that its inline cache does not lead to.
  private(set) var lookupThunk: UnsafeMutablePointer<UInt8>
  /// The same for a branch that has looked into the jump cache itself.
  private(set) var displacedThunk: UnsafeMutablePointer<UInt8>
  /// What the entries of dead blocks call.
  private(set) var deadThunk: UnsafeMutablePointer<UInt8>
  /// The inline cache that was given away last.
  var cacheCursor = 0
  /// The micro-TLB entry that was given away last.
  var microCursor = 1
  /// When each entry of the micro-TLB was filled so often that somebody looked (nanoseconds).
  var microFilled = [UInt64](repeating: 0, count: VM_MMU_COUNT * MicroTLB.slots)

  private let links: UnsafeMutablePointer<vm_code_link>
  let jumpCache: UnsafeMutablePointer<vm_jump_entry>
  /// Parts of the jump key of supervisor and user code: entries of older generations are void.
  private var jumpGeneration: UInt64 = 1
  private var userGeneration: UInt64 = 1
  /// The other bits of the keys. No canonical address can be taken for an entry of an older generation; one that is not
  /// canonical, as a RET may find it, could be if it were known by how much keys differ.
  private var supervisorSalt = UInt64.random(in: 0..<1 << 48)
  private var userSalt = UInt64.random(in: 0..<1 << 48)
  private var supervisorEvictions = EvictedPages()
  private var userEvictions = EvictedPages()

  /// Whether code counts the guest's instructions, so that it can stop by number.
  var counts = true
  /// Turns of a loop that check each access before those to come are checked together.
  var turnsBeforeStrides = 4
  static let hasRotate = vm_host_has_bmi2() != 0

  var statistics = TranslatorStatistics()

  /// Whether code is proved before it runs.
  var verifiesCode = false {
    didSet { verifier = verifiesCode ? verifier ?? CodeVerifier(self) : nil }
  }
  private var verifier: CodeVerifier?
  /// Is told of each refusal.
  var onRefusal: (CodeRefusal) -> Void = { _ in }
  /// For tests: may change code before it is looked at.
  var beforeVerifying: ((UnsafeMutablePointer<UInt8>, Int) -> Void)?

  /// Nil when the host refuses executable memory.
  ///
  /// - Parameters:
  ///   - codeBytes: at least a megabyte.
  ///   - emptyTag: of micro-TLB entries that hold nothing.
  init?(
    jumpCache: UnsafeMutablePointer<vm_jump_entry>, codeBytes: Int, emptyTag: UInt64, step: @escaping vm_code_step
  ) {
    regionBytes = min(Self.regionBytes, codeBytes / 8)
    regionCount = codeBytes / regionBytes
    let memory = vm_code_memory_map(regionCount * regionBytes)
    guard let executable = memory.executable, let writable = memory.writable else { return nil }
    self.memory = memory
    distance = Int(bitPattern: executable) - Int(bitPattern: writable)
    cursor = writable
    end = writable + regionBytes
    newest = .allocate(capacity: regionCount)
    newest.initialize(repeating: nil, count: regionCount)
    linksUsed = .allocate(capacity: regionCount)
    linksUsed.initialize(repeating: 0, count: regionCount)
    firstBlock = writable
    stepThunk = writable
    plainStepThunk = writable
    exitThunk = writable
    vectorThunk = writable
    x87Thunk = writable
    x87StoreThunk = writable
    walkThunk = writable
    lookupThunk = writable
    displacedThunk = writable
    deadThunk = writable
    // Pages that are never written stay unallocated.
    let linkCount = regionCount * Self.regionLinks
    links = calloc(linkCount, MemoryLayout<vm_code_link>.stride)!.assumingMemoryBound(to: vm_code_link.self)
    self.jumpCache = jumpCache
    clearJumps()
    emitThunks(vm_code_step_address(step), emptyTag)
  }

  deinit {
    vm_code_memory_unmap(memory)
    free(links)
    newest.deallocate()
    linksUsed.deallocate()
  }

  /// Memory that was filled at least once counts as used.
  var bytesInUse: Int {
    let filled = statistics.evictions > 0 ? regionCount - 1 : region
    return filled * regionBytes + (cursor - (memory.writable + region * regionBytes))
  }

  /// Sees to it that the code of `block` fits. May take the code of others away; what they lead to stays right.
  func makeRoom(for block: UnsafeMutablePointer<vm_block>) {
    let reserve = Self.instructionReserve * (Int(block.pointee.count) + 1)
    if end - cursor > reserve && linksUsed[region] + Int(block.pointee.count) + 8 < Self.regionLinks { return }
    region = region + 1 == regionCount ? 0 : region + 1
    cursor = region == 0 ? firstBlock : memory.writable + region * regionBytes
    end = memory.writable + (region + 1) * regionBytes
    if newest[region] != nil { evict() }
  }

  /// Takes the code out of the region that is to be filled anew. None of it may be running.
  private func evict() {
    let began = vm_monotonic_nanoseconds()
    defer { statistics.longestEviction = max(statistics.longestEviction, vm_monotonic_nanoseconds() &- began) }
    let first = executable(memory.writable + region * regionBytes)
    let last = first &+ UInt64(regionBytes)
    var next = newest[region]
    newest[region] = nil
    while let block = next {
      next = block.pointee.older
      block.pointee.older = nil
      guard block.pointee.code != 0 else { continue }
      unlinkBranches(to: block)
      block.pointee.code = 0
      statistics.evictedBlocks += 1
    }
    let own = links + region * Self.regionLinks
    for index in 0..<linksUsed[region] { detach(own + index) }
    linksUsed[region] = 0
    for slot in 0..<Self.jumpEntries where jumpCache[slot].code >= first && jumpCache[slot].code < last {
      jumpCache[slot] = vm_jump_entry()
    }
    statistics.evictions += 1
  }

  /// Has the branches to `block` lead to the dispatcher.
  private func unlinkBranches(to block: UnsafeMutablePointer<vm_block>) {
    var link = block.pointee.incoming
    while let each = link {
      Assembler.patch(each.pointee.site, each.pointee.unlinked)
      link = each.pointee.next
      each.pointee.next = nil
      each.pointee.previous = nil
    }
    block.pointee.incoming = nil
  }

  /// Takes a branch whose code goes out of its target's list.
  private func detach(_ link: UnsafeMutablePointer<vm_code_link>) {
    guard let previous = link.pointee.previous else { return }
    previous.pointee = link.pointee.next
    if let next = link.pointee.next { next.pointee.previous = previous }
    link.pointee.previous = nil
    link.pointee.next = nil
  }

  func executable(_ writable: UnsafeMutablePointer<UInt8>) -> UInt64 {
    UInt64(UInt(bitPattern: writable)) &+ UInt64(bitPattern: Int64(distance))
  }

  func writable(_ executable: UInt64) -> UnsafeMutablePointer<UInt8> {
    let address = UInt(executable &- UInt64(bitPattern: Int64(distance)))
    return UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  /// `block` has got its code, up to `end`.
  func enter(_ block: UnsafeMutablePointer<vm_block>, end: UnsafeMutablePointer<UInt8>) {
    block.pointee.older = newest[region]
    newest[region] = block
    advance(to: end)
  }

  /// Takes the code up to `to` as used.
  private func advance(to: UnsafeMutablePointer<UInt8>) {
    let bytes = (UInt(bitPattern: to) &+ 15) & ~15
    cursor = UnsafeMutablePointer(bitPattern: bytes).unsafelyUnwrapped
  }

  /// Links made so far of the region that is being filled.
  var linkCount: Int { linksUsed[region] }

  /// Whether the code of `block`, which has just been emitted, may run: the verifier has proved it, or is off.
  ///
  /// - Parameter firstLink: the first of the code's links.
  func accepts(
    _ block: UnsafeMutablePointer<vm_block>, code: UnsafeMutablePointer<UInt8>, length: Int, firstLink: Int
  ) -> Bool {
    guard let verifier else { return true }
    beforeVerifying?(code, length)
    let own = UnsafeBufferPointer(
      start: links + (region * Self.regionLinks + firstLink), count: linksUsed[region] - firstLink)
    do throws(CodeRefusal) {
      try verifier.verify(EmittedBlock(code: code, length: length, block: block, links: own))
      statistics.verifiedBlocks += 1
      return true
    } catch {
      statistics.refusedBlocks += 1
      statistics.lastRefusal = error
      linksUsed[region] = firstLink
      onRefusal(error)
      return false
    }
  }

  func makeLink(
    site: UnsafeMutablePointer<UInt8>, unlinked: UnsafeMutablePointer<UInt8>
  ) -> UnsafeMutablePointer<vm_code_link> {
    let link = links + (region * Self.regionLinks + linksUsed[region])
    linksUsed[region] += 1
    link.initialize(to: vm_code_link(next: nil, previous: nil, site: site, unlinked: unlinked))
    return link
  }

  /// Makes a branch lead straight to `block`.
  func connect(_ link: UnsafeMutablePointer<vm_code_link>, to block: UnsafeMutablePointer<vm_block>) {
    Assembler.patch(link.pointee.site, writable(block.pointee.code))
    let first = incoming(block)
    link.pointee.next = first.pointee
    link.pointee.previous = first
    // `next` is a link's first field.
    let own = UnsafeMutableRawPointer(link).assumingMemoryBound(to: Link.self)
    if let next = first.pointee { next.pointee.previous = own }
    first.pointee = link
  }

  typealias Link = UnsafeMutablePointer<vm_code_link>?

  /// The head of the list of branches linked to `block`.
  private func incoming(_ block: UnsafeMutablePointer<vm_block>) -> UnsafeMutablePointer<Link> {
    let field = UnsafeMutableRawPointer(block) + MemoryLayout<vm_block>.offset(of: \.incoming)!
    return field.assumingMemoryBound(to: Link.self)
  }

  /// The block's bytes have been overwritten: no way leads into its code any more.
  func kill(_ block: UnsafeMutablePointer<vm_block>) {
    guard block.pointee.code != 0 else { return }
    // The jump cache and inline caches may still lead there.
    var entry = Assembler(cursor: writable(block.pointee.code))
    entry.call(deadThunk)
    entry.word32(Int32(block.pointee.start))
    unlinkBranches(to: block)
    block.pointee.code = 0
  }

  /// The block lives on, to be translated in another way: it is no longer its region's either.
  func drop(_ block: UnsafeMutablePointer<vm_block>) {
    guard block.pointee.code != 0 else { return }
    let place = (writable(block.pointee.code) - memory.writable) / regionBytes
    if newest[place] == block {
      newest[place] = block.pointee.older
    } else {
      var newer = newest[place]
      while let each = newer, each.pointee.older != block { newer = each.pointee.older }
      newer?.pointee.older = block.pointee.older
    }
    block.pointee.older = nil
    kill(block)
  }

  /// Drops all code; every block that has some is dropped too.
  func reset() {
    region = 0
    cursor = firstBlock
    end = memory.writable + regionBytes
    newest.update(repeating: nil, count: regionCount)
    linksUsed.update(repeating: 0, count: regionCount)
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
    if set == VM_MMU_USER {
      userGeneration &+= 1
      userSalt = Self.nextSalt(userSalt)
      userEvictions = EvictedPages()
    } else {
      jumpGeneration &+= 1
      supervisorSalt = Self.nextSalt(supervisorSalt)
      supervisorEvictions = EvictedPages()
    }
    if jumpGeneration > 0x7ff || userGeneration > 0x7ff { clearJumps() }
  }

  /// A page's entry in the fetch TLB's `set` gives way to another. Its translation holds until it is flushed.
  func noteEviction(set: Int, page: UInt64, global: Bool) {
    if set == VM_MMU_USER {
      userEvictions.add(page, global: global)
    } else {
      supervisorEvictions.add(page, global: global)
    }
  }

  /// Pages of `set` that the jump cache may hold though the fetch TLB does not.
  func evictions(set: Int) -> EvictedPages { set == VM_MMU_USER ? userEvictions : supervisorEvictions }

  private func clearJumps() {
    jumpGeneration = 1
    userGeneration = 1
    let bytes = MemoryLayout<vm_jump_entry>.stride * Self.jumpEntries
    UnsafeMutableRawPointer(jumpCache).initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
  }

  /// 48 bits that the guest cannot foresee (SplitMix64's step and its output).
  @inline(__always)
  private static func nextSalt(_ salt: UInt64) -> UInt64 {
    var mixed = salt &+ 0x9e37_79b9_7f4a_7c15
    mixed = (mixed ^ mixed &>> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed &>> 27) &* 0x94d0_49bb_1331_11eb
    return (mixed ^ mixed &>> 31) & 0xffff_ffff_ffff
  }

  /// Bits 48 to 62: the generation and the number of a mode that `BlockTranslator.handles`; beneath, the salt.
  @inline(__always)
  func jumpKey(_ mode: UInt32) -> UInt64 {
    // Such modes differ in these only.
    let kind: UInt64 = mode & UInt32(VM_MODE_CODE64) != 0 ? 0 : mode & UInt32(VM_MODE_LONG) != 0 ? 4 : 8
    let set = UInt64(mode &>> UInt32(VM_MODE_MMU_SHIFT)) & 3
    let isUser = set == UInt64(VM_MMU_USER)
    return ((isUser ? userGeneration : jumpGeneration) &<< 4 | kind | set) &<< 48 | (isUser ? userSalt : supervisorSalt)
  }

  /// Where the jump cache has an address: its low bits, mixed with those that differ between aligned ones. Emitted code
  /// does the same: see `emitJumpSlot`.
  @inline(__always)
  private func jumpEntry(_ rip: UInt64) -> UnsafeMutablePointer<vm_jump_entry> {
    let low = UInt32(truncatingIfNeeded: rip)
    return jumpCache + Int((low ^ low &>> 5) & (1 &<< UInt32(Self.jumpCacheBits) &- 1))
  }

  func fillJump(_ rip: UInt64, key: UInt64, code: UInt64) {
    let entry = jumpEntry(rip)
    // What stood there moves to its second place. That of another key has none, and is void or soon will be.
    let other = entry.pointee.tag ^ key
    if entry.pointee.tag != 0 && other != rip && CPU.isCanonical(other) {
      displacedEntry(other).pointee = entry.pointee
    }
    entry.pointee = vm_jump_entry(tag: rip ^ key, code: code, page: rip & ~0xfff, visits: 0, repeats: 0)
  }

  /// The code at `rip`, 0 when the jump cache does not know.
  @inline(__always)
  func findJump(_ rip: UInt64, key: UInt64) -> UInt64 {
    let entry = jumpEntry(rip)
    if entry.pointee.tag == rip ^ key { return entry.pointee.code }
    let second = displacedEntry(rip)
    return second.pointee.tag == rip ^ key ? second.pointee.code : 0
  }

  // MARK: Thunks

  private func emitThunks(_ step: UInt64, _ emptyTag: UInt64) {
    var a = Assembler(cursor: cursor)
    let pushed = [Host.rbx, Host.rbp, Host.r12, Host.r13, Host.r14, Host.r15]
    enterThunk = UnsafeRawPointer(bitPattern: UInt(executable(a.cursor))) ?? enterThunk
    for register in pushed { a.push(register) }
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
    for register in pushed.reversed() { a.pop(register) }
    a.byte(0xc3)

    // Two kinds of step: vectors that were loaded before are loaded again after.
    stepThunk = a.cursor
    a.arithmetic(7, StateField.vectorReady, 0, size: 4)
    let withVectors = a.jumpIf(Condition.notEqual)
    emitStepBody(&a, step, vectors: false, reloads: true, leave)
    Assembler.patch(withVectors, a.cursor)
    emitStepBody(&a, step, vectors: true, reloads: true, leave)

    plainStepThunk = a.cursor
    emitStepBody(&a, step, vectors: false, reloads: false, leave)

    vectorThunk = a.cursor
    a.arithmetic(7, StateField.vectorsAllowed, 0, size: 4)
    let refused = a.jumpIf(Condition.equal)
    moveVectors(&a, load: true)
    // ZF is clear: the comparison above was not equal.
    Assembler.patch(refused, a.cursor)
    a.byte(0xc3)

    displacedThunk = a.cursor
    emitDisplaced(&a)
    deadThunk = a.cursor
    emitDeadEntry(&a)
    lookupThunk = a.cursor
    emitLookup(&a)

    walkThunk = a.cursor
    emitWalk(&a)
    for index in 0..<2 * VM_MMU_COUNT {
      fillThunks.append(a.cursor)
      emitMicroFill(&a, set: index / 2, write: index & 1 != 0, emptyTag)
      missThunks.append(a.cursor)
      emitMiss(&a, set: index / 2, write: index & 1 != 0)
    }
    advance(to: a.cursor)
    firstBlock = cursor
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
  ///
  /// - Parameters:
  ///   - vectors: the vector registers are loaded.
  ///   - reloads: what was loaded is loaded again after; else it is only stored.
  private func emitStepBody(
    _ a: inout Assembler, _ step: UInt64, vectors: Bool, reloads: Bool, _ leave: UnsafeMutablePointer<UInt8>
  ) {
    a.arithmetic(5, .register(Host.rsp), 8, size: 8)
    spill(&a)
    if vectors {
      moveVectors(&a, load: false)
    } else if !reloads {
      a.arithmetic(7, StateField.vectorReady, 0, size: 4)
      let noVectors = a.jumpIf(Condition.equal)
      moveVectors(&a, load: false)
      Assembler.patch(noVectors, a.cursor)
    }
    a.emit(0x8d, Host.rdi, .at(GuestRegisters.state, -GuestRegisters.bias), size: 8)
    a.move(Host.rsi, Host.r14)
    a.move(Host.rdx, Host.r15, size: 4)
    if reloads {
      // The word above the return address remembers whether the x87 state is to be loaded again.
      a.load(Host.rax, StateField.x87Ready, size: 4)
      a.store(.at(Host.rsp, 0), Host.rax)
      a.emit(0x85, Host.rax, .register(Host.rax), size: 4)
    } else {
      a.arithmetic(7, StateField.x87Ready, 0, size: 4)
    }
    let noX87 = a.jumpIf(Condition.equal)
    a.call(x87StoreThunk)
    Assembler.patch(noX87, a.cursor)
    a.moveImmediate(Host.rax, step)
    a.emit(0xff, 2, .register(Host.rax), size: 4)  // call rax
    a.emit(0x85, Host.rax, .register(Host.rax), size: 4)
    let goesOn = a.jumpIf(Condition.equal)
    a.arithmetic(0, .register(Host.rsp), 16, size: 8)
    a.arithmetic(7, .register(Host.rax), 1, size: 8)
    a.jump(to: leave, if: Condition.equal)
    // The code of another block.
    a.move(Host.r14, Host.rax)
    fill(&a)
    a.emit(0xff, 4, .register(Host.r14), size: 4)  // jmp r14
    Assembler.patch(goesOn, a.cursor)
    if vectors { moveVectors(&a, load: true) }
    if reloads {
      a.arithmetic(7, .at(Host.rsp, 0), 0, size: 4)
      let stays = a.jumpIf(Condition.equal)
      a.call(x87Thunk)
      Assembler.patch(stays, a.cursor)
    }
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
