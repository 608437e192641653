import DiskImages
import GuestMemory
import Machine
import Teleport

/// What the floors below report, in words for the user: what has happened, and what can be done with which command.
///
/// The floors below know no commands: they throw typed cases whose descriptions say what has happened.
extension ManagementError {
  /// An error in full; one that lists differences has several lines.
  /// - Parameter machine: the VM that it is about, for the commands it proposes.
  public static func text(for error: any Error, machine: String? = nil) -> String {
    // Names, paths and what peers say may hold what a terminal would obey.
    words(for: error, machine: machine).split(separator: "\n", omittingEmptySubsequences: false)
      .map { ForeignText.clean(String($0)) }.joined(separator: "\n")
  }

  private static func words(for error: any Error, machine: String?) -> String {
    let name = machine.map(ShellWord.quote) ?? "NAME"
    switch error {
    case let error as SavedHardwareDiffers:
      return error.mismatches.reduce("the saved state is of other hardware than the machine has now:") {
        $0 + "\n  \(MismatchWords.subject($1)): saved \($1.sourceText), now \($1.targetText)\n    "
          + MismatchWords.remedy($1, machine: name)
      }
    case TeleportError.hardware(let mismatches, let target):
      return MismatchWords.report(mismatches, machine: target)
    default:
      guard let remedy = remedy(for: error, machine: name) else { return String(describing: error) }
      return "\(error); \(remedy)"
    }
  }

  private static func remedy(for error: any Error, machine name: String) -> String? {
    switch error {
    case let error as MachineError: remedy(for: error, machine: name)
    case is ChangedMediaError:
      "put back what was there, or drop the state and boot with vmctl discardstate \(name), or go on with "
        + "vmctl startvm \(name) --force: the guest, which still has the old content in its memory, can then destroy "
        + "the disk's file systems"
    case DiskImageError.foreign(let path, .qcow2):
      "if that is so, say it with vmctl storageattach --medium \(ShellWord.quote(path)) --format qcow2; if a guest has written "
        + "that there, insist with --format raw"
    case DiskImageError.foreign(let path, let format):
      "make a raw image of it with \(format.conversion(of: path)), or insist with vmctl storageattach --format raw"
    case let error as TeleportError: remedy(for: error)
    case DiskImageError.notFound(let path):
      "see that the path is right; a new disk is made with vmctl createmedium disk --filename \(ShellWord.quote(path)) --size MB"
    case GuestMemoryError.cannotMap: "give the machine less with vmctl modifyvm \(name) --memory MB"
    default: nil
    }
  }

  private static func remedy(for error: MachineError, machine name: String) -> String? {
    switch error {
    case .noSuchCPUProfile(_, let known): "choose one with --cpu-profile: \(known.joined(separator: ", "))"
    case .driveNotPossible(_, let bus, _, _): bus.placesInWords
    case .diskWithoutMedium(let controller, let port, let device):
      "attach one with vmctl storageattach \(name) --storagectl \(ShellWord.quote(controller)) --port \(port) "
        + "--device \(device) --type hdd --medium FILE"
    case .initrdWithoutKernel: "name one with vmctl modifyvm \(name) --kernel FILE"
    case .multibootHeaderLate: "link it so that the header comes first, or strip what lies before it"
    case .severalInitrds: "name one with vmctl modifyvm \(name) --initrd FILE"
    case .tooManyModules: "name fewer with vmctl modifyvm \(name) --initrd"
    case .linuxTooOld: "boot it from a disk or CD with a boot loader of its time"
    case .commandLineTooLong: "shorten it with vmctl modifyvm \(name) --append TEXT"
    case .kernelDoesNotFit: "give the machine more with vmctl modifyvm \(name) --memory MB"
    case .notAKernel, .kernelCutShort: "correct it with vmctl modifyvm \(name) --kernel FILE"
    case .fileUnreadable(let setting, _, _, _):
      setting.isEmpty
        ? "install it: apt install seabios" : "correct it with vmctl modifyvm \(name) --\(setting) FILE"
    case .firmwareSize: "correct it with vmctl modifyvm \(name) --firmware FILE"
    case .firmwareNotInstalled: "install it: apt install seabios"
    case .bootROMNotInstalled: "install it: apt install ipxe-qemu; or do not boot from the network"
    case .running: "pause it first"
    case .floppySize: "make one with vmctl createmedium floppy"
    case .noDiscDrive, .noDisk: "see vmctl showvminfo \(name)"
    case .trayLocked: "have the guest eject the disc, or take it out all the same with --forceunmount"
    case .keysWaiting: "try again when it has"
    case .noKey: "send it over a serial console"
    case .noAddress: "give it in hexadecimal, as in 0xffffffff81000000"
    case .noTopic(_, let known): "known: \(known.joined(separator: ", "))"
    case .alreadyStarted: nil
    }
  }

  private static func remedy(for error: TeleportError) -> String? {
    switch error {
    case .nobodyListens: "start the target there with --teleporter on first"
    case .cannotListen: "choose another with --teleporter-port"
    case .tampered: "the machine stayed here; find out what stands between the hosts before you try again"
    case .passwordNeeded: "give it with --passwordfile"
    case .passwordNotAsked(let machine):
      "leave it out, or set it on the target with vmctl modifyvm \(ShellWord.quote(machine)) --teleporter-password"
    case .tooBusy(_, let milliseconds, let allowed):
      "give --maxdowntime \(max(milliseconds * 2, allowed + 1)) or more, or a faster connection"
    default: nil
    }
  }
}

extension MachineConfiguration.StorageController.Bus {
  /// Which drives it has.
  var kindsInWords: String {
    switch self {
    case .ide: "an IDE controller has hard disks and CD-ROM drives only"
    case .virtio: "a virtio controller has hard disks only"
    case .floppy: "a floppy controller has floppy drives only"
    }
  }

  /// Where its drives can be.
  var placesInWords: String {
    switch self {
    case .ide: "IDE has the ports 0 and 1 with the devices 0 and 1"
    case .floppy: "the floppy controller has the port 0 with the devices 0 and 1, drives A and B"
    case .virtio: "virtio has the ports \(ports.lowerBound) to \(ports.upperBound), for hard disks, with the device 0"
    }
  }
}

extension MachineConfiguration.Attachment.Kind {
  /// What such a drive is attached to.
  var busInWords: String {
    switch self {
    case .hdd, .dvddrive: "an IDE controller"
    case .fdd: "a floppy controller (storagectl --add floppy)"
    }
  }
}
