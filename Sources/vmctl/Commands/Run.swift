import ArgumentParser
import Foundation
import Machine
import Management

struct Run: ParsableCommand {
  enum OnReboot: String, ExpressibleByArgument, CaseIterable { case exit, reset }
  static let configuration = CommandConfiguration(
    abstract: "Boots a kernel, disk or CD once, with its serial console in this terminal.",
    discussion: """
      Nothing of the machine stays. Its options are modifyvm's. Ctrl-A x ends it, Ctrl-A Ctrl-A is Ctrl-A for the guest.

      Exit status: 0 when the guest switched itself off, or said what was expected; n * 2 + 1 when it wrote n to the debug \
      exit port 0xF4; 1 when it ended without having said what was expected, or failed; 124 when its time was over; 64 wrong \
      usage.
      """)
  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "A disk on IDE, up to three times. ro: the guest may not write; snapshot: it writes to a copy that goes with it.",
      valueName: "file[:ro|:snapshot]"), completion: .file()) var disk: [String] = []
  @Option(help: ArgumentHelp("A CD on IDE.", valueName: "file"), completion: .file()) var cdrom: String?
  @Option(help: ArgumentHelp("Ends, with status 0, when the console has shown this.", valueName: "text"))
  var expect: String?
  @Option(help: ArgumentHelp("Ends, with status 124, after so long.", valueName: "seconds")) var timeout: Double?
  @Option(help: "What the guest's reset does: exit ends it with status 0.") var onReboot: OnReboot = .reset
  @OptionGroup var general: SettingOptions<GeneralSection>
  @OptionGroup(title: "CPU options") var cpu: SettingOptions<CPUSection>
  @OptionGroup(title: "CPU options") var cpuid: CPUIDOptions
  @OptionGroup(title: "Boot options") var boot: SettingOptions<BootSection>
  @OptionGroup(title: "Network options") var network: SettingOptions<NetworkSection>

  func validate() throws {
    guard disk.count <= Self.places.count else { throw ValidationError("--disk can be given three times") }
    if let timeout, !(timeout > 0 && timeout <= 1e9) { throw ValidationError("--timeout is a number of seconds") }
    if expect == "" { throw ValidationError("--expect needs a text") }
  }

  /// IDE's places of disks; a CD is the second channel's master, where BIOSes and guests look for it.
  private static let places = [(port: 0, device: 0), (port: 0, device: 1), (port: 1, device: 1)]

  func run() throws {
    let (definition, snapshots) = try definition()
    let hardware = definition.hardware
    let boots = !disk.isEmpty || cdrom != nil || hardware.bootOrder.first == .net
    guard boots || hardware.kernel != nil || hardware.firmware != nil else {
      throw ManagementError("there is nothing to boot", remedy: "give --kernel, --disk, --cdrom or --boot1 net")
    }
    let stop = try Interruption()
    let machine = try PassingMachine(definition, snapshots: snapshots)
    let console = try machine.start(endsAtReset: onReboot == .exit)
    let isTerminal = isatty(0) == 1
    let saved = isTerminal ? RawTerminal() : nil
    var link = ConsoleLink(console.descriptor, keys: isTerminal ? .prefixed : .none)
    (link.stop, link.expect, link.timeout) = (stop.descriptor, expect, timeout)
    link.endsWithInput = false
    let why = link.join()
    saved?.restore()
    let end = machine.end(off: why != .machineEnded)
    throw ExitCode(status(why, end))
  }

  private func status(_ why: ConsoleLink.End, _ end: PassingMachine.End) -> Int32 {
    switch why {
    case .found: return 0
    case .timedOut:
      Terminal.error(
        "vmctl: the machine's \(timeout ?? 0) seconds are over\(expect.map { " without \"\($0)\"" } ?? "")")
      return 124
    case .left: return expect == nil ? 0 : 1
    case .machineEnded:
      if let reason = end.reason { Terminal.error("vmctl: the machine could not go on: \(reason)") }
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

  private func definition() throws -> (VMDefinition, snapshots: [(port: Int, device: Int)]) {
    var definition = VMDefinition(name: "run")
    definition.hardware.uarts = [.init(slot: 1, ioBase: 0x3F8, irq: 4, mode: .disconnected)]
    definition.hardware.debugPorts = true
    try general.apply(to: &definition)
    try cpu.apply(to: &definition)
    try cpuid.apply(to: &definition)
    try boot.apply(to: &definition)
    try network.apply(to: &definition)
    guard !disk.isEmpty || cdrom != nil else { return (definition, []) }
    let controller = "IDE"
    try definition.hardware.addController(name: controller, bus: .ide)
    var snapshots: [(port: Int, device: Int)] = []
    func attach(_ file: String, _ kind: MachineConfiguration.Attachment.Kind, _ place: (port: Int, device: Int)) throws
    {
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
    if let cdrom { try attach(cdrom, .dvddrive, (port: 1, device: 0)) }
    return (definition, snapshots)
  }

  /// A file that is called so is meant as it is.
  private static func use(of text: String) -> (path: String, use: String?) {
    for use in ["ro", "snapshot"] where text.hasSuffix(":\(use)") && access(text, F_OK) != 0 {
      return (String(text.dropLast(use.count + 1)), use)
    }
    return (text, nil)
  }
}

/// Becomes readable when a signal asks for the end, so that what was made is put away first.
private final class Interruption {
  let descriptor: Int32
  private let signals: SignalWatch

  init() throws {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw ManagementError("no descriptors are left", remedy: "see ulimit -n") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    descriptor = ends[0]
    let other = ends[1]
    signals = SignalWatch([SIGINT, SIGTERM, SIGHUP]) {
      var byte: UInt8 = 1
      _ = write(other, &byte, 1)
    }
  }
}
