/// What a machine could not do. The description says what happened; what the user can do about it, who knows the user's
/// commands says (Management's `Remedies`).
public enum MachineError: Error, Equatable, CustomStringConvertible, Sendable {
  case noSuchCPUProfile(String, known: [String])
  /// Two drives for one place of a controller, or a place that there is none of.
  case driveNotPossible(
    controller: String, bus: MachineConfiguration.StorageController.Bus, port: Int, device: Int)
  case diskWithoutMedium(controller: String, port: Int, device: Int)
  case initrdWithoutKernel
  case notAKernel(path: String)
  /// A multiboot kernel whose header the boot ROM will not find; in bytes.
  case multibootHeaderLate(path: String, offset: Int, reach: Int)
  /// A list of modules for a Linux kernel.
  case severalInitrds(text: String, count: Int)
  case tooManyModules(count: Int, limit: Int)
  /// Of a boot protocol older than 2.02, or not loaded high.
  case linuxTooOld
  /// For a Linux kernel, which would get a part of it.
  case commandLineTooLong(characters: Int, limit: Int)
  /// A kernel's file has fewer bytes than its header says.
  case kernelCutShort(bytes: Int, of: Int)
  /// With its initial RAM disk; in bytes.
  case kernelDoesNotFit(bytes: UInt64, memory: UInt64)
  /// A file that a setting names.
  case fileUnreadable(setting: String, what: String, path: String, exists: Bool)
  case firmwareSize(path: String, bytes: Int)
  /// A file of the distribution's `seabios` package.
  case firmwareNotInstalled(what: String, file: String, folder: String)
  /// A file of the distribution's `ipxe-qemu` package, without which no card boots from the network.
  case bootROMNotInstalled(file: String, folder: String)
  case running
  case alreadyStarted
  case keysWaiting
  case noDiscDrive
  /// An image that no floppy drive takes, or not the one that it was meant for; in bytes.
  case floppySize(path: String, bytes: UInt64, sizes: [String])
  /// There is no disk that the guest writes.
  case noDisk
  case trayLocked
  case noKey(characters: String)
  case noAddress(String)
  case noTopic(String, known: [String])

  /// What has happened, in one line without a remedy.
  public var description: String {
    switch self {
    case .noSuchCPUProfile(let name, _): "there is no CPU profile \(name)"
    case .driveNotPossible(let controller, _, let port, let device):
      "port \(port) device \(device) of \(controller) is not free"
    case .diskWithoutMedium(let controller, let port, let device):
      "the hard disk at port \(port) device \(device) of \(controller) has no medium"
    case .initrdWithoutKernel: "an initrd or a command line is given without a kernel"
    case .notAKernel(let path): "kernel \(path) is neither a Linux bzImage nor a multiboot image"
    case .multibootHeaderLate(let path, let offset, let reach):
      "kernel \(path) has its multiboot header \(offset) bytes into the file, beyond the first \(reach)"
    case .severalInitrds(let text, let count): "a Linux kernel takes one initrd, and \(text) names \(count) files"
    case .tooManyModules(let count, let limit):
      "\(count) modules are more than the \(limit) that a kernel may have"
    case .linuxTooOld: "this Linux kernel is too old: boot protocol 2.02 is needed"
    case .commandLineTooLong(let characters, let limit):
      "the command line has \(characters) characters, and this kernel takes \(limit)"
    case .kernelCutShort(let bytes, let size):
      "the kernel's file is cut short: it has \(bytes) bytes, and its header speaks of \(size)"
    case .kernelDoesNotFit(let bytes, let memory):
      "the kernel and its initrd need \((bytes + (1 << 20) - 1) >> 20) MB, and the machine has \(memory >> 20) MB for them"
    case .fileUnreadable(_, let what, let path, let exists):
      "\(what) \(path) \(exists ? "cannot be read" : "does not exist")"
    case .firmwareSize(let path, let bytes):
      "firmware \(path) has \(bytes) bytes; a ROM image has 64 KiB to 16 MiB, a multiple of 4 KiB"
    case .firmwareNotInstalled(let what, let file, let folder): "\(what) (\(file)) is not installed in \(folder)"
    case .bootROMNotInstalled(let file, let folder):
      "the boot ROM of a network card (\(file)) is not installed in \(folder)"
    case .running: "the machine runs; its state is taken while it is paused"
    case .alreadyStarted: "the machine has been started already"
    case .noDiscDrive: "there is no drive for removable media at that place"
    case .floppySize(let path, let bytes, let sizes):
      "\(path) has \(bytes) bytes; the floppy drive takes \(sizes.dropLast().joined(separator: ", ")) and "
        + (sizes.last ?? "")
    case .noDisk: "there is no disk at that place"
    case .trayLocked: "the guest has locked the drive's tray"
    case .keysWaiting: "the guest has not taken the keys typed before"
    case .noKey(let characters): "a US keyboard has no key for \(characters)"
    case .noAddress(let text): "\(text) is no address"
    case .noTopic(let name, _): "there is no info \(name)"
    }
  }
}
