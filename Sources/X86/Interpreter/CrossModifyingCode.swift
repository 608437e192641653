import CHost
import GuestMemory

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

// Code that one CPU holds decoded and another, or DMA, may overwrite (Intel SDM vol. 3A, 8.1.3).
//
// A CPU claims a page before it reads the first byte of code there: it sets its bit in `PhysicalMemory.codePages`. From
// then on no CPU gets a translation that lets it write the page unseen, and each store of the slow path tells every CPU
// that has claimed the page. What is left is translations from before: `PhysicalMemory.writers` has a bit for each CPU
// that may hold one. The claimer takes those bits and asks their CPUs to drop the translation; each answers at its next
// block boundary, by calling all of the page overwritten, since it may have written until then.
//
// So a claimer may run old code for a moment: as long as the other one's running block lasts. The processor's rule is
// that new code is sure to be seen after a serialising instruction; hence system instructions wait until the answers
// are in.

/// Words of a CPU that other CPUs' threads look at. Changed by atomic operations only.
struct CPUSharedWords {
  /// 1 while `CPU.run` runs: else the CPU stores nothing, and looks at what was asked before it runs again.
  var running: UInt32 = 0
  /// 1 while it stands still for another CPU's exclusive access.
  var parked: UInt32 = 0
  /// Number of the last answered request.
  var served: UInt64 = 0
  /// CPUs whose answers are still to come, a bit each. Only the owner's.
  var awaited: UInt16 = 0
}

/// The CPUs of one machine, which tell each other of overwritten code.
public final class CPUGroup: @unchecked Sendable {
  /// `PhysicalMemory.codePages` has a bit for each.
  public static let maximum = 16

  private let members: UnsafeMutablePointer<Unmanaged<CPU>>
  private(set) var count = 0
  /// The CPU that has all others stand still, plus 1; 0: none.
  let holder: UnsafeMutablePointer<UInt32>

  /// A group without CPUs; each joins when it is made.
  public init() {
    members = .allocate(capacity: Self.maximum)
    holder = .allocate(capacity: 1)
    holder.initialize(to: 0)
  }

  deinit {
    members.deallocate()
    holder.deallocate()
  }

  /// Members are not kept alive: whoever owns the CPUs runs none when some are gone.
  func add(_ cpu: CPU) {
    precondition(count < Self.maximum && cpu.index == count, "CPUs join in the order of their indices")
    (members + count).initialize(to: .passUnretained(cpu))
    count += 1
    if count > 1 { for index in 0..<count { self[index].notAlone() } }
  }

  @inline(__always)
  subscript(_ index: Int) -> CPU { members[index]._withUnsafeGuaranteedRef { $0 } }
}

/// What others ask of a CPU, until it reaches a block boundary. Bounded: when it is full, everything is dropped instead.
final class ForeignCodeWrites: @unchecked Sendable {
  struct Request {
    var physical: UInt64
    var length: Int
    /// Drop the write translations of the page and say that it was written; else: the bytes were overwritten.
    var dropsWrites: Bool
  }

  private static let capacity = 256
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private var incoming: UnsafeMutablePointer<Request>
  private var outgoing: UnsafeMutablePointer<Request>
  private var count = 0
  private var overflowed = false
  /// A request to drop write translations is among those that found no room.
  private var lostDrops = false
  private var posted: UInt64 = 0

  init() {
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    incoming = .allocate(capacity: Self.capacity)
    outgoing = .allocate(capacity: Self.capacity)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
    incoming.deallocate()
    outgoing.deallocate()
  }

  /// - Returns: the request's number.
  @discardableResult
  func add(_ request: Request) -> UInt64 {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    if count < Self.capacity {
      (incoming + count).initialize(to: request)
      count += 1
    } else {
      overflowed = true
      if request.dropsWrites { lostDrops = true }
    }
    posted += 1
    return posted
  }

  /// As if anything might have been written.
  func addEverything() {
    pthread_mutex_lock(mutex)
    overflowed = true
    posted += 1
    pthread_mutex_unlock(mutex)
  }

  /// Takes the requests. They stay readable until the next call.
  func take() -> Taken {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    let requests = UnsafeMutableBufferPointer(start: incoming, count: count)
    let taken = Taken(requests: requests, isComplete: !overflowed, lostDrops: lostDrops, last: posted)
    swap(&incoming, &outgoing)
    count = 0
    overflowed = false
    lostDrops = false
    return taken
  }

  struct Taken {
    var requests: UnsafeMutableBufferPointer<Request>
    var isComplete: Bool
    var lostDrops: Bool
    /// The number of the last request answered with these.
    var last: UInt64
  }
}

extension CPU {
  // MARK: The one that decodes

  /// Says that this CPU is going to hold code of the page, and sees to it that nobody writes it unseen.
  func claimCode(ramPage: Int, physical: UInt64) {
    _ = vm_fetch_or16(memory.codePages + ramPage, code.cpuBit)
    dropWriteTranslations(physical: physical)
    guard !isAlone else { return }
    let writers = vm_exchange16(memory.writers + ramPage, 0) & ~code.cpuBit
    guard writers != 0 else { return }
    for index in 0..<group.count where writers &>> UInt16(index) & 1 != 0 {
      let other = group[index]
      let number = other.foreignWrites.add(.init(physical: physical, length: 4096, dropsWrites: true))
      other.post(UInt32(VM_PENDING_CODE))
      awaitedNumbers[index] = number
      shared.pointee.awaited |= 1 &<< UInt16(index)
    }
  }

  /// Waits until every CPU asked by `claimCode` has answered or stands still, and drops what they have overwritten.
  /// A CPU that does not run has stored everything it will, so its answer can come later.
  @inline(never)
  func awaitOthers() {
    for other in 0..<group.count where shared.pointee.awaited &>> UInt16(other) & 1 != 0 {
      let words = group[other].shared
      while vm_load64(&words.pointee.served) < awaitedNumbers[other] && vm_load32(&words.pointee.running) != 0 {
        serveOthers()
        sched_yield()
      }
    }
    shared.pointee.awaited = 0
    serveOthers()
  }

  // MARK: The one that writes

  /// Whether a write translation of the RAM page may be made; notes it if so.
  @inline(__always)
  func mayWriteUnseen(_ ramPage: Int) -> Bool {
    if !isAlone && memory.writers[ramPage] & code.cpuBit == 0 {
      _ = vm_fetch_or16(memory.writers + ramPage, code.cpuBit)
    }
    return vm_load16(memory.codePages + ramPage) == 0
  }

  /// Called after a store through the slow path.
  @inline(__always)
  func noteWrite(_ ramPage: Int, _ physical: UInt64, _ length: Int) {
    guard ramPage >= 0 else { return }
    // The store before the look: the claimer sets its bit before it reads.
    if !isAlone { vm_fence() }
    if vm_load16(memory.codePages + ramPage) != 0 { codeWritten(ramPage, physical, length) }
  }

  @inline(never)
  private func codeWritten(_ ramPage: Int, _ physical: UInt64, _ length: Int) {
    let holders = vm_load16(memory.codePages + ramPage)
    if holders & code.cpuBit != 0 { dropCode(physical, length) }
    tellHolders(holders, physical, length)
  }

  private func tellHolders(_ holders: UInt16, _ physical: UInt64, _ length: Int) {
    guard !isAlone && holders & ~code.cpuBit != 0 else { return }
    for other in 0..<group.count where other != index && holders &>> UInt16(other) & 1 != 0 {
      group[other].codeOverwritten(physical: physical, length: length)
    }
  }

  // MARK: The one that is told

  /// DMA or another CPU has written a page with `memory.codePages` set. Callable from any thread; the bytes do not
  /// cross a page. Takes effect at this CPU's next block boundary.
  public func codeOverwritten(physical: UInt64, length: Int) {
    foreignWrites.add(.init(physical: physical, length: length, dropsWrites: false))
    post(UInt32(VM_PENDING_CODE))
  }

  /// Drops the blocks decoded from those bytes; the running one stops after the current instruction.
  private func dropCode(_ physical: UInt64, _ length: Int) {
    guard let offset = memory.ramOffset(physical) else { return }
    code.written(ramPage: Int(offset >> 12), offset: Int(offset & 0xfff), length: length)
  }

  /// Does what others ask. Called between instructions.
  @inline(never)
  func serveOthers() {
    if vm_load_relaxed(&s.pointee.pending) & UInt32(VM_PENDING_CODE) != 0 {
      withdraw(UInt32(VM_PENDING_CODE))
      let taken = foreignWrites.take()
      for request in taken.requests {
        if request.dropsWrites {
          giveUpWriting(request.physical)
        } else {
          dropCode(request.physical, request.length)
        }
      }
      if !taken.isComplete { flushCode() }
      if taken.lostDrops {
        dropWriteTranslations()
        for other in 0..<group.count where other != index {
          group[other].foreignWrites.addEverything()
          group[other].post(UInt32(VM_PENDING_CODE))
        }
      }
      vm_store64(&shared.pointee.served, taken.last)
    }
    if vm_load32(group.holder) != 0 { park() }
  }

  private func giveUpWriting(_ physical: UInt64) {
    dropWriteTranslations(physical: physical)
    guard let offset = memory.ramOffset(physical) else { return }
    vm_fence()
    tellHolders(vm_load16(memory.codePages + Int(offset >> 12)), physical, 4096)
  }

  // MARK: Standing still

  @inline(__always)
  func enterGuest() { _ = vm_exchange32(&shared.pointee.running, 1) }
  @inline(__always)
  func leaveGuest() { _ = vm_exchange32(&shared.pointee.running, 0) }

  private func park() {
    guard vm_load32(group.holder) != UInt32(index + 1) else { return }
    repeat {
      _ = vm_exchange32(&shared.pointee.parked, 1)
      while vm_load32(group.holder) != 0 { sched_yield() }
      _ = vm_exchange32(&shared.pointee.parked, 0)
      // The next holder may have seen this one still parked.
    } while vm_load32(group.holder) != 0
  }

  /// Runs `body` while no other CPU runs: a locked access that the host cannot do in one (it crosses into a page that
  /// lies elsewhere, or a device answers).
  func exclusively(_ body: () throws(GuestFault) -> Void) throws(GuestFault) {
    if isAlone { return try body() }
    let own = UInt32(index + 1)
    var free: UInt32 = 0
    while vm_cas32(group.holder, &free, own) == 0 {
      park()
      free = 0
    }
    defer { _ = vm_exchange32(group.holder, 0) }
    for other in 0..<group.count where other != index {
      let cpu = group[other]
      cpu.post(UInt32(VM_PENDING_CODE))
      let words = cpu.shared
      while vm_load32(&words.pointee.running) != 0 && vm_load32(&words.pointee.parked) == 0 { sched_yield() }
    }
    try body()
  }
}
