/// Facts about a CPU that are derived from its architectural state, or that live only until the next instruction
/// boundary. None of them is saved: `CPU.updateMode` and `CPU.updateDebug` rebuild them.
struct SystemLatches {
  /// CR0.AM, EFLAGS.AC and CPL 3: the user TLB holds no tags, so that each access is checked for alignment.
  var alignmentChecks = false
  /// DR7 enables a breakpoint on data, or a debugger watches some: pages it touches get no tags.
  var watchesData = false
  /// DR7 enables a breakpoint on data.
  var trapsOnData = false
  /// DR7 enables a breakpoint on instructions.
  var watchesCode = false
  /// DR7 enables a breakpoint on ports, and CR4.DE is set.
  var watchesPorts = false
  /// The running instruction has loaded RF, which holds for the next one (Intel SDM vol. 3B, 18.3.1.1).
  var resumes = false
  /// A repeated instruction has been left with turns still to come.
  var isWithinRepeat = false
  /// The #DB under way is a fault: an access to a debug register under DR7.GD.
  var generalDetect = false
  /// DR6 bits of breakpoints hit by the running instruction.
  var debugHits: UInt64 = 0
  /// TF was set when the running instruction began.
  var traceArmed = false
  /// The last instruction loaded SS: debug traps wait for the next one.
  var stackShadow = false
  /// A debugger has one instruction run: whether it is still to come.
  var debuggerStep: Bool?
  /// The environment is told of each instruction.
  var isTraced = false
  /// The running instruction has switched tasks: what faults from here on belongs to the new task.
  var taskSwitched = false
  /// The address of the running instruction that was not canonical.
  var refusedAddress: UInt64?
  /// Linear addresses from `largeLow` up to `largeHigh` hold every large page that the TLB has pieces of.
  var largeLow: UInt64 = .max
  var largeHigh: UInt64 = 0
  /// The TLB may hold a global translation where `CPU.isLow`.
  var lowGlobals = false
  /// MAXPHYADDR as CPUID states it.
  var physicalBits: UInt64 = 40
  /// CPUID offers 1 GiB pages.
  var hugePages = true
}
