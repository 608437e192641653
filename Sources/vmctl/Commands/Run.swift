import ArgumentParser
import Foundation
import Machine
import Management

struct Run: ParsableCommand {
  enum OnReboot: String, ExpressibleByArgument, CaseIterable { case exit, reset }
  static let configuration = CommandConfiguration(
    abstract: "Boots a kernel, disk, CD or floppy disk once, with its serial console in this terminal.",
    discussion: """
      Nothing of the machine stays. Its options are modifyvm's; --on-panic exit knows a panic by the panic device, and by what \
      Linux says last. Ctrl-A x ends it, Ctrl-A b sends a break, Ctrl-A Ctrl-A is \
      Ctrl-A for the guest.

      Exit status: 0 when the guest switched itself off, or said what was expected; n * 2 + 1 when it wrote n to the debug \
      exit port 0xF4; 1 when it ended without having said what was expected, panicked (--on-panic exit), or failed; 124 when \
      its time was over; 128 and the signal's number when one ended it; 64 wrong usage.
      """)
  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "A disk on IDE, up to three times. ro: the guest may not write; snapshot: it writes to a copy that goes with it.",
      valueName: "file[:ro|:snapshot]"), completion: .file()) var disk: [String] = []
  @Option(help: ArgumentHelp("A CD on IDE.", valueName: "file"), completion: .file()) var cdrom: String?
  @Option(
    help: ArgumentHelp("A disk for floppy drive A, as --disk.", valueName: "file[:ro|:snapshot]"),
    completion: .file()) var fda: String?
  @Option(
    help: ArgumentHelp("A disk for floppy drive B.", valueName: "file[:ro|:snapshot]"), completion: .file())
  var fdb: String?
  @Option(help: ArgumentHelp("Ends, with status 0, when the console has shown this.", valueName: "text"))
  var expect: String?
  @Option(help: ArgumentHelp("Ends, with status 124, after so long.", valueName: "seconds")) var timeout: Double?
  @Option(help: "What the guest's reset does: exit ends it with status 0.") var onReboot: OnReboot = .reset
  @Option(
    help: ArgumentHelp(
      "Waits for GDB before the first instruction: a TCP port of localhost (0: a free one), or a Unix socket.",
      valueName: "port|socket")) var gdb: String?
  @Option(help: "Which registers GDB is shown; see debugvm.") var gdbArchitecture: DebuggerOptions.Architecture?
  @Option(
    help: "Writes what its CPUs do into a new file, from the first instruction on; see debugvm.", completion: .file())
  var trace: String?
  @Option(help: "--trace: \(TraceWords.events); without it the first three.") var traceEvents: String?
  @Option(help: ArgumentHelp("--trace: \(TraceWords.rangeHelp).", valueName: "first-last")) var traceRange: String?
  @Option(help: ArgumentHelp("--trace: it ends after so many.", valueName: "lines")) var traceLimit: Int?
  @OptionGroup var general: SettingOptions<GeneralSection>
  @OptionGroup(title: "CPU options") var cpu: SettingOptions<CPUSection>
  @OptionGroup(title: "CPU options") var cpuid: CPUIDOptions
  @OptionGroup(title: "Boot options") var boot: SettingOptions<BootSection>
  @OptionGroup(title: "Network options") var network: SettingOptions<NetworkSection>

  func validate() throws {
    guard disk.count <= Self.places.count else { throw ValidationError("--disk can be given three times") }
    if let timeout, !(timeout > 0 && timeout <= 1e9) { throw ValidationError("--timeout is a number of seconds") }
    if let gdb, let port = Int(gdb), !(0...65535).contains(port) {
      throw ValidationError("--gdb is a port from 0 to 65535, or a socket's path")
    }
    guard gdb != nil || gdbArchitecture == nil else { throw ValidationError("--gdb-architecture is for --gdb") }
    guard trace != nil || words.isEmpty else {
      throw ValidationError("--trace-events, --trace-range and --trace-limit are for --trace")
    }
    _ = try words.request()
    if expect == "" { throw ValidationError("--expect needs a text") }
  }

  private var words: TraceWords {
    TraceWords(events: traceEvents, range: traceRange, limit: traceLimit, prefix: "trace-")
  }

  /// IDE's places of disks; a CD is the second channel's master, where BIOSes and guests look for it.
  private static let places: [HardwareDescription.StorageSlot.Place] = [
    .init(bus: .ide, port: 0, device: 0), .init(bus: .ide, port: 0, device: 1), .init(bus: .ide, port: 1, device: 1),
  ]

  func run() throws {
    let (definition, snapshots) = try definition()
    let hardware = definition.hardware
    let boots = !disk.isEmpty || cdrom != nil || fda != nil || hardware.bootOrder.first == .net
    guard boots || hardware.kernel != nil || hardware.firmware != nil else {
      throw ManagementError("there is nothing to boot", remedy: "give --kernel, --disk, --cdrom, --fda or --boot1 net")
    }
    let stop = try Interruption()
    let machine = try PassingMachine(definition, snapshots: snapshots)
    let console = try machine.start(endsAtReset: onReboot == .exit, isHeld: gdb != nil) { machine in
      if let trace { try machine.startTrace(try words.request(), to: trace) }
    }
    if let gdb {
      let place: DebuggerPlace = Int(gdb).map { .port($0) } ?? .socket(path: gdb)
      let name = try machine.serveDebuggers(at: place, architecture: gdbArchitecture?.rawValue)
      Terminal.error("the machine waits for GDB: target remote \(name)")
    }
    let isTerminal = isatty(0) == 1
    let saved = isTerminal ? RawTerminal(until: stop) : nil
    var link = ConsoleLink(console.descriptor, keys: isTerminal ? .prefixed : .none)
    (link.stop, link.expect, link.timeout) = (stop.descriptor, expect, timeout)
    link.endsWithInput = false
    // A kernel may panic before it has found the device for that.
    if definition.onPanic == .exit { link.alarm = "---[ end Kernel panic - not syncing" }
    link.onBreak = { try? machine.sendBreak() }
    let why = link.join()
    saved?.restore()
    let end = machine.end(off: why != .machineEnded)
    if let failure = end.traceFailure { Terminal.error("vmctl: \(failure)") }
    throw ExitCode(why == .stopped ? stop.status : status(why, end))
  }

  private func status(_ why: ConsoleLink.End, _ end: PassingMachine.End) -> Int32 {
    switch why {
    case .found: return 0
    case .timedOut:
      Terminal.error(
        "vmctl: the machine's \(timeout ?? 0) seconds are over\(expect.map { " without \"\($0)\"" } ?? "")")
      return 124
    case .alarmed:
      Terminal.error("vmctl: the guest's kernel has panicked")
      return 1
    case .stopped: return 1
    case .outputFailed(let code):
      // Who reads no more knows that.
      if code != EPIPE {
        Terminal.error("vmctl: what the guest says cannot be written: \(String(cString: strerror(code)))")
      }
      return 1
    case .left: return expect == nil ? 0 : 1
    case .machineEnded:
      if let reason = end.reason { Terminal.error("vmctl: the machine has ended: \(reason)") }
      guard let status = end.status else {
        Terminal.error("vmctl: the machine's process was killed")
        return 1
      }
      if let expect {
        Terminal.error("vmctl: the machine has ended without \"\(expect)\"")
        return 1
      }
      return status
    }
  }

  private func definition() throws -> (VMDefinition, snapshots: [HardwareDescription.StorageSlot.Place]) {
    var definition = VMDefinition(name: "run")
    definition.hardware.uarts = [.init(slot: 1, ioBase: 0x3F8, irq: 4, mode: .disconnected)]
    definition.hardware.debugPorts = true
    try general.apply(to: &definition)
    try cpu.apply(to: &definition)
    try cpuid.apply(to: &definition)
    try boot.apply(to: &definition)
    try network.apply(to: &definition)
    // What the guest reads of its identity is the same each time.
    if definition.hardware.deterministic { definition.uuid = Self.fixedIdentity }
    if definition.onPanic != .none { definition.hardware.pvpanic = true }
    var snapshots: [HardwareDescription.StorageSlot.Place] = []
    func attach(
      _ file: String, _ kind: MachineConfiguration.Attachment.Kind, _ place: HardwareDescription.StorageSlot.Place
    ) throws {
      let controller = place.bus == .ide ? "IDE" : "Floppy"
      if !definition.hardware.storageControllers.contains(where: { $0.bus == place.bus }) {
        try definition.hardware.addController(name: controller, bus: place.bus)
      }
      let (path, use) = Self.use(of: file)
      let mode: MachineConfiguration.Attachment.Mode = use == "ro" ? .readonly : .normal
      // The image itself is only read where the guest has a copy.
      let checked = try Media.attachment(
        port: place.port, device: place.device, kind: kind, medium: path, mode: use == nil ? .normal : .readonly)
      var attachment = checked
      attachment?.mode = mode
      try definition.hardware.attach(
        attachment, controller: controller, port: place.port, device: place.device)
      if use == "snapshot" { snapshots.append(place) }
    }
    for (file, place) in zip(disk, Self.places) { try attach(file, .hdd, place) }
    if let cdrom { try attach(cdrom, .dvddrive, .init(bus: .ide, port: 1, device: 0)) }
    for (device, file) in [fda, fdb].enumerated() {
      if let file { try attach(file, .fdd, .init(bus: .floppy, port: 0, device: device)) }
    }
    return (definition, snapshots)
  }

  private static let fixedIdentity = UUID(uuid: (0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1))

  /// A file that is called so is meant as it is.
  private static func use(of text: String) -> (path: String, use: String?) {
    for use in ["ro", "snapshot"] where text.hasSuffix(":\(use)") && access(text, F_OK) != 0 {
      return (String(text.dropLast(use.count + 1)), use)
    }
    return (text, nil)
  }
}
