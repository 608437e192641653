import CHost
import GuestMemory

/// One x86 CPU: its state, its translations and its decoded code. Runs on one thread at a time.
///
/// The class is spread over folders, one wing each: `Decoder` (bytes to `vm_op`), `Interpreter` (the executor, one file
/// an instruction family), `Memory` (TLB, page walks, segment checks), `System` (segments, exceptions, transfers, control
/// registers), `FloatingPoint` (x87, MMX, SSE), `Translator` (from `vm_op` to host code).
public final class CPU {
  /// The architectural state. Owned by this object.
  public let s: UnsafeMutablePointer<vm_cpu_state>
  public let memory: PhysicalMemory
  /// The board as the CPU sees it.
  public let environment: CPUEnvironment
  /// What CPUID says.
  public let profile: CPUProfile
  /// 0 for the bootstrap processor; also the initial local APIC id.
  public let index: Int

  /// Emitted code finds the data TLB and the jump cache at these distances from the state.
  static let tlbOffset = (MemoryLayout<vm_cpu_state>.size + 4095) & ~4095
  static let jumpCacheOffset = tlbOffset + VM_MMU_COUNT * Int(VM_TLB_SIZE) * MemoryLayout<vm_tlb_entry>.stride

  static let pageAddendsOffset = MicroTLB.offset + MicroTLB.bytes

  /// The TLB sets, VM_MMU_COUNT of each, contiguous.
  let dataTLBs: UnsafeMutablePointer<vm_tlb_entry>
  let fetchTLBs: UnsafeMutablePointer<vm_fetch_entry>
  /// The addends of `dataTLBs` once more, each with the index that bits 12 and up of a linear address are: a quicker way
  /// to them by a cycle. Those of slots that hold nothing are left behind; whoever reads one has checked the tag.
  let pageAddends: UnsafeMutablePointer<UInt64>
  /// The tag of micro-TLB entries that hold nothing: a page that is not canonical, of no guest's knowledge.
  let emptyMicroTag = UInt64.random(in: 0...0xff_ffff_ffff) &<< 12 | 1 &<< 62

  /// Which TLB slots were filled since the last flush: see `Memory/TranslationBuffer.swift`.
  let tlbUse: UnsafeMutablePointer<UInt64>
  /// What Memory and System remember between instructions and can rebuild from the architectural state.
  var latches = SystemLatches()
  /// Where a debugger wants this CPU to stop.
  var debugger = DebuggerStops()

  let code: CodeCache
  /// The CPUs of the same machine, itself among them.
  private(set) var group: CPUGroup
  /// The only CPU of its machine: nobody else writes code or needs atomic operations.
  private(set) var isAlone = true
  let shared: UnsafeMutablePointer<CPUSharedWords>
  /// Numbers of the requests whose answers `shared.awaited` says are to come, by CPU.
  let awaitedNumbers: UnsafeMutablePointer<UInt64>
  let foreignWrites = ForeignCodeWrites()

  /// How guest code is executed; looked at by each call of `run`.
  public var accelerator = Accelerator.interpreter
  var translator: Translator? { didSet { unretainedTranslator = translator.map { .passUnretained($0) } } }
  /// The same for those who are called so often that counting references shows.
  private(set) var unretainedTranslator: Unmanaged<Translator>?
  /// Interpreted runs of a block before it is translated.
  var translationThreshold: UInt8 = 12
  /// Whether the translator's code is proved before it runs (`CodeVerifier`); what is refused is interpreted, counted and
  /// logged. Looked at when the translator is first used.
  public var verifiesCode = false
  /// Is told of each refusal.
  var onRefusal: ((CodeRefusal) -> Void)?
  /// Bytes of memory for host code, taken when the translator is first used.
  var codeMemory = Translator.codeBytes
  /// `vm_cpu_state.instructions` at which the running `run` ends.
  var codeLimit: UInt64 = 0

  /// A CPU after power-on. CPU 0 of its group is the bootstrap processor, the others wait for a start-up message.
  public init(index: Int, profile: CPUProfile, memory: PhysicalMemory, environment: CPUEnvironment) {
    self.index = index
    self.profile = profile
    self.memory = memory
    self.environment = environment
    let bytes = CPU.pageAddendsOffset + VM_MMU_COUNT * CPU.dataSetSize * 8
    let block = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 4096)
    s = block.initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<vm_cpu_state>.size)
      .withMemoryRebound(to: vm_cpu_state.self, capacity: 1) { $0 }
    dataTLBs = (block + CPU.tlbOffset).bindMemory(to: vm_tlb_entry.self, capacity: VM_MMU_COUNT * Int(VM_TLB_SIZE))
    pageAddends = (block + CPU.pageAddendsOffset).initializeMemory(
      as: UInt64.self, repeating: 0, count: VM_MMU_COUNT * CPU.dataSetSize)
    fetchTLBs = .allocate(capacity: VM_MMU_COUNT * Int(VM_FETCH_SIZE))
    tlbUse = .allocate(capacity: TLBUse.words)
    code = CodeCache(memory: memory, cpu: index)
    shared = .allocate(capacity: 1)
    shared.initialize(to: CPUSharedWords())
    awaitedNumbers = .allocate(capacity: CPUGroup.maximum)
    awaitedNumbers.initialize(repeating: 0, count: CPUGroup.maximum)
    group = CPUGroup()
    eraseTranslations()
    eraseMicroTLB()
    flushAllTranslations()
    reset()
  }

  deinit {
    // The TLB and the jump cache with it.
    s.deallocate()
    fetchTLBs.deallocate()
    tlbUse.deallocate()
    shared.deallocate()
    awaitedNumbers.deallocate()
  }

  /// Makes this CPU one of a machine's several. Called once for each, in the order of their indices, before any runs.
  public func join(_ group: CPUGroup) {
    self.group = group
    group.add(self)
  }

  func notAlone() { isAlone = false }

  /// Asks the CPU to leave its inner loop: sets VM_PENDING_* bits. Callable from any thread.
  public func post(_ bits: UInt32) { _ = vm_fetch_or(&s.pointee.pending, bits) }
  /// Takes requests back that have not been served (`VM_PENDING_...`). Any thread may.
  public func withdraw(_ bits: UInt32) { _ = vm_fetch_and(&s.pointee.pending, ~bits) }
}

/// Why `CPU.run` came back.
public enum RunExit: Equatable, Sendable {
  /// VM_PENDING_STOP was posted.
  case stopped
  /// HLT (or MWAIT): call `run` again when a VM_PENDING_* bit is set.
  case halted
  /// A triple fault, already reported to the environment.
  case shutdown
  /// The instruction budget is used up.
  case budget
  /// A debugger's breakpoint is next, or its watchpoint was hit: see `CPU.takeDebuggerHit`.
  case debugger
}
