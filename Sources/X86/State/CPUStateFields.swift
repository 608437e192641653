/// The saved form of a CPU: names as in the manuals, so that a section can be read by a person and by a later build.
struct CPUStateFields: Codable, Equatable {
  struct Segment: Codable, Equatable {
    var selector: UInt16
    var base: UInt64
    var limit: UInt32
    var attributes: UInt16
  }
  struct Table: Codable, Equatable {
    var base: UInt64
    var limit: UInt32
  }
  struct FloatingPoint: Codable, Equatable {
    var control: UInt16
    var status: UInt16
    var opcode: UInt16
    /// Bit n: physical register n is empty.
    var empty: UInt8
    var instructionPointer: UInt64
    var dataPointer: UInt64
    var codeSelector: UInt16
    var dataSelector: UInt16
    /// By physical number.
    var significands: [UInt64]
    var exponents: [UInt16]
    var mxcsr: UInt32
    /// Low and high half in turn.
    var xmm: [UInt64]
  }
  struct ModelSpecific: Codable, Equatable {
    var efer: UInt64
    var star: UInt64
    var lstar: UInt64
    var cstar: UInt64
    var sfmask: UInt64
    var kernelGSBase: UInt64
    var tscAux: UInt64
    var sysenterCS: UInt64
    var sysenterESP: UInt64
    var sysenterEIP: UInt64
    var pat: UInt64
    var apicBase: UInt64
    var miscEnable: UInt64
    var tscOffset: UInt64
    var debugControl: UInt64
    var mcgStatus: UInt64
    var mtrrDefType: UInt64
    var mtrrFixed: [UInt64]
    var mtrrBase: [UInt64]
    var mtrrMask: [UInt64]
  }

  /// RAX RCX RDX RBX RSP RBP RSI RDI R8 to R15.
  var general: [UInt64]
  var rip: UInt64
  var rflags: UInt64
  /// ES CS SS DS FS GS LDTR TR.
  var segments: [Segment]
  var gdtr: Table
  var idtr: Table
  var cr0: UInt64
  var cr2: UInt64
  var cr3: UInt64
  var cr4: UInt64
  var xcr0: UInt64
  var pdpte: [UInt64]
  var debug: [UInt64]
  var a20Mask: UInt64
  var msr: ModelSpecific
  var fpu: FloatingPoint
  /// 0 active, 1 halted, 2 shut down, 3 waiting for SIPI.
  var activity: UInt32
  var nmiBlocked: Bool
  var nmiPending: Bool
  /// Two of them; absent in states of before.
  var secondNMI: Bool?
  var initPending: Bool
  var startupPending: Bool
  var startupVector: UInt8
  /// As `vm_cpu_state.shadow`: 2 before the instruction that interrupts are held off for.
  var interruptShadow: UInt32
  var shadowOfStack: Bool
  /// DR6 bits of breakpoints hit and not delivered yet.
  var debugHits: UInt64
  var instructions: UInt64
}
