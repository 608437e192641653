import ArgumentParser
import Management

/// Changes of CPUID are a list, to which each option adds.
struct CPUIDOptions: ParsableArguments {
  @Option(
    name: .customLong("cpuid-set"), parsing: .upToNextOption,
    help: ArgumentHelp("Sets a CPUID leaf.", valueName: "leaf[:sub] eax ebx ecx edx"))
  var set: [String] = []
  @Option(
    name: .customLong("cpuid-remove"),
    help: ArgumentHelp(
      "Gives a changed CPUID leaf back to the CPU model; one of the model's own is zeros then.", valueName: "leaf[:sub]"
    ))
  var remove: String?
  @Flag(name: .customLong("cpuid-remove-all"), help: "Gives all CPUID leaves back to the CPU model.")
  var removesAll = false

  func apply(to definition: inout VMDefinition) throws {
    if removesAll { definition.hardware.removeAllCPUID() }
    if !set.isEmpty { try definition.hardware.setCPUID(set.flatMap { $0.split(separator: " ").map(String.init) }) }
    if let remove { try definition.hardware.removeCPUID(remove) }
  }
}

struct ModifyVM: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "modifyvm", abstract: "Changes a machine's definition, while it is off.")
  @OptionGroup var machine: MachineArgument
  @OptionGroup var general: SettingOptions<GeneralSection>
  @OptionGroup(title: "CPU options") var cpu: SettingOptions<CPUSection>
  @OptionGroup(title: "CPU options") var cpuid: CPUIDOptions
  @OptionGroup(title: "Boot options") var boot: SettingOptions<BootSection>
  @OptionGroup(title: "Serial port options") var serial: SettingOptions<SerialSection>
  @OptionGroup(title: "Network options") var network: SettingOptions<NetworkSection>
  @OptionGroup(title: "Screen options") var screen: SettingOptions<ScreenSection>
  @OptionGroup(title: "Teleporter options") var teleporter: SettingOptions<TeleporterSection>

  func run() throws {
    let registry = try Registry.fromEnvironment()
    let entry = try registry.find(machine.name)
    let notes = try registry.modify(entry) { definition in
      try general.apply(to: &definition)
      try cpu.apply(to: &definition)
      try cpuid.apply(to: &definition)
      try boot.apply(to: &definition)
      try serial.apply(to: &definition)
      try network.apply(to: &definition)
      try screen.apply(to: &definition)
      try teleporter.apply(to: &definition)
    }
    for line in notes + registry.networkNotes(of: try registry.find(entry.definition.uuid.uuidString)) {
      Terminal.error("note: \(line)")
    }
  }
}
