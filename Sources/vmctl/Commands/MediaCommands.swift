import ArgumentParser
import Machine
import Management

extension MachineConfiguration.StorageController.Bus: ExpressibleByArgument {}
extension MachineConfiguration.Attachment.Kind: ExpressibleByArgument {}
extension MachineConfiguration.Attachment.Mode: ExpressibleByArgument {}
extension MachineConfiguration.Attachment.Format: ExpressibleByArgument {}

struct CreateMedium: ParsableCommand {
  enum Kind: String, ExpressibleByArgument, CaseIterable { case disk, floppy }
  enum Variant: String, ExpressibleByArgument, CaseIterable { case standard = "Standard", fixed = "Fixed" }
  enum Format: String, ExpressibleByArgument, CaseIterable {
    case raw, qcow2
    /// VBoxManage's users write it in capitals.
    init?(argument: String) { self.init(rawValue: argument.lowercased()) }
  }
  static let configuration = CommandConfiguration(
    commandName: "createmedium", abstract: "Makes an empty image of a disk or a floppy disk.")
  @Argument(help: "disk or floppy.") var kind: Kind = .disk
  @Option(help: "The file to make.", completion: .file()) var filename: String
  @Option(help: ArgumentHelp("Its capacity in MB; with --diffparent as much as that has.", valueName: "mb"))
  var size: Int?
  @Option(
    help: ArgumentHelp(
      "Its capacity in bytes. A floppy disk has 1474560 without it, which is 1.44 MB.", valueName: "bytes"))
  var sizebyte: UInt64?
  @Option(help: "Its format; with --diffparent it is qcow2.") var format: Format?
  @Option(help: "As VBoxManage has it; images take what is written.") var variant: Variant?
  @Option(
    help: "The image that it is based on: it has the same content, and takes what is written to it from then on.",
    completion: .file()) var diffparent: String?

  func validate() throws {
    if diffparent != nil, format == .raw {
      throw ValidationError("a raw image is not based on another: --format qcow2")
    }
    if size != nil, sizebyte != nil { throw ValidationError("give either --size or --sizebyte") }
    if kind == .floppy {
      guard size == nil else { throw ValidationError("the size of a floppy disk is given with --sizebyte") }
      guard diffparent == nil, format != .qcow2 else { throw ValidationError("a floppy disk is a raw image") }
      return
    }
    if sizebyte != nil, diffparent != nil || format == .qcow2 {
      throw ValidationError("the size of a qcow2 image is given with --size")
    }
    if diffparent == nil, size == nil, sizebyte == nil { throw ValidationError("give --size in MB") }
  }

  func run() throws {
    if kind == .floppy {
      let made = try Media.createFloppy(filename, bytes: sizebyte ?? 1_474_560)
      return Terminal.line("the floppy disk \(made.path) is made, \(made.label)")
    }
    if let sizebyte {
      let path = try Media.createRaw(filename, bytes: sizebyte)
      return Terminal.line("the disk \(path) is made, \(sizebyte) bytes, raw")
    }
    let format = format ?? (diffparent == nil ? .raw : .qcow2)
    var (path, megabytes) = ("", UInt64(size ?? 0))
    switch format {
    case .raw: path = try Media.createRaw(filename, megabytes: size ?? 0)
    case .qcow2:
      let made = try Media.createQcow2(filename, megabytes: size, parent: diffparent)
      (path, megabytes) = (made.path, made.capacity >> 20)
    }
    Terminal.line("the disk \(path) is made, \(megabytes) MB, \(format.rawValue)")
  }
}

struct ModifyMedium: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "modifymedium", abstract: "Makes a disk image larger, or gives the host back what holds zeros.")
  @Argument(help: "disk, and the image's file.", completion: .file()) var words: [String]
  @Option(help: ArgumentHelp("Its new capacity in MB; an image does not become smaller.", valueName: "mb"))
  var resize: Int?
  @Flag(help: "Gives back clusters that hold zeros only.") var compact = false

  func validate() throws {
    guard words.count == 1 || (words.count == 2 && words[0] == "disk") else {
      throw ValidationError("give the image's file")
    }
    guard resize != nil || compact else { throw ValidationError("give --resize MB or --compact") }
  }

  func run() throws { try Media.modify(words.last ?? "", megabytes: resize, compacts: compact) }
}

struct ShowMediumInfo: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "showmediuminfo", abstract: "Shows what an image is.")
  @Argument(help: "The image's file.", completion: .file()) var file: String
  @Option(help: "How to print it.") var format: OutputFormat?

  func run() throws {
    let information = try Media.information(file)
    if format == .json { return try Terminal.json(information) }
    Terminal.line("Location: \(information.path)")
    Terminal.line("Format: \(information.format)")
    Terminal.line("Capacity: \(information.capacity >> 20) MBytes (\(information.capacity) bytes)")
    Terminal.line("Size on disk: \(information.allocated >> 20) MBytes")
    for base in information.bases ?? [] { Terminal.line("Based on: \(base)") }
    if let count = information.internalSnapshots, count > 0 { Terminal.line("Snapshots in it: \(count)") }
    Terminal.line("In use: \(information.inUse ? "yes" : "no")")
  }
}

struct StorageCtl: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "storagectl", abstract: "Adds a storage controller to a machine, or removes one.")
  @OptionGroup var machine: MachineArgument
  @Option(help: "The controller's name.") var name: String
  @Option(help: "Adds a controller of this kind.") var add: MachineConfiguration.StorageController.Bus?
  @Flag(help: "Removes the controller with what is attached to it.") var remove = false
  @Option(help: ArgumentHelp("PIIX3, PIIX4 or ICH6, as VBoxManage has it; it is the board's PIIX3.", valueName: "chip"))
  var controller: String?
  @Option(help: "As VBoxManage has it; see modifyvm --boot1.") var bootable: Switch?
  @Option(help: "As VBoxManage has it; the host's cache is always used.") var hostiocache: Switch?
  @Option(help: "As VBoxManage has it; IDE has two channels.") var portcount: Int?

  func validate() throws {
    guard (add != nil) != remove else {
      throw ValidationError("give either --add ide, --add virtio, --add floppy or --remove")
    }
  }

  func run() throws {
    let registry = try Registry.fromEnvironment()
    try registry.modify(try registry.find(machine.name)) { definition in
      if let add {
        try definition.hardware.addController(name: name, bus: add)
      } else {
        try definition.hardware.removeController(name: name)
      }
    }
  }
}

struct StorageAttach: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "storageattach", abstract: "Attaches an image to a controller, or detaches it.",
    discussion: """
      The disc in a CD-ROM or floppy drive may be changed while the machine runs; all else needs one that is off.
      """)
  @OptionGroup var machine: MachineArgument
  @Option(help: "The controller's name.") var storagectl: String
  @Option(help: "IDE's channel, 0 or 1; virtio's disk, 0 to 15; 0 of a floppy controller.") var port: Int = 0
  @Option(help: "0; on IDE 0 master, 1 slave; of floppy drives 0 A, 1 B.") var device: Int = 0
  @Option(help: "The kind of drive.") var type: MachineConfiguration.Attachment.Kind?
  @Option(help: "The image's file, emptydrive, or none to detach.", completion: .file()) var medium: String
  @Option(help: "How the image is used.") var mtype: MachineConfiguration.Attachment.Mode = .normal
  @Flag(help: "Of a running machine: also when the guest has locked the drive's tray.") var forceunmount = false
  @Option(help: "As VBoxManage has it; the guest may always open the tray.") var tempeject: Switch?
  @Option(help: "As VBoxManage has it, without effect.") var nonrotational: Switch?
  @Option(help: "As VBoxManage has it, without effect.") var discard: Switch?
  @Option(
    help: "raw: the image is taken as it is though it looks like another format. qcow2: also known by its name, .qcow2."
  )
  var format: MachineConfiguration.Attachment.Format?

  func run() throws {
    let registry = try Registry.fromEnvironment()
    let entry = try registry.find(machine.name)
    let attachment = try Media.attachment(
      port: port, device: device, kind: type, medium: medium, mode: mtype, format: format)
    if let attachment, try entry.folder.currentStatus().state.isLive,
      entry.definition.hardware.hasRemovableDrive(attachment.kind, storagectl, port: port, device: device)
    {
      return try entry.changeDisc(controller: storagectl, to: attachment, force: forceunmount)
    }
    try registry.modify(entry) { definition in
      try definition.hardware.attach(attachment, controller: storagectl, port: port, device: device)
    }
  }
}
