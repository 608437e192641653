import Devices
import Dispatch

/// The BIOS ROM, and fw_cfg with what the firmware is told and the files of a kernel to start.
final class FirmwarePart: BoardPart {
  let vgaBIOS: GuestFile
  private let bios: GuestFile
  private let bootFiles: [GuestFile]
  private let config: FirmwareConfig
  private let image: ROMImage
  private let words: FirmwareWords?

  var devices: [any Device] { [config] }

  /// - Parameter identity: what the guest's firmware tables say who it is.
  /// - Throws: `MachineError` for a file that is missing or not what it should be.
  init(_ bench: Workbench, _ pci: PCIPart, identity: MachineIdentity) throws {
    bios = try FirmwareImages.systemBIOS(bench.configuration.firmware)
    vgaBIOS = try FirmwareImages.vgaBIOS()
    bootFiles = try BootItems.files(of: bench.configuration)
    config = FirmwareConfig(ports: bench.ports, memory: bench.memory)
    BootItems.fill(config, bench.configuration, files: bootFiles, memory: bench.memory)
    let profile = try CPUPart.profile(of: bench.configuration)
    BootItems.addTables(config, bench.configuration, identity: identity, profile: profile, memory: bench.memory) {
      [unowned power = pci.power] in power.portBase
    }
    // The ROM ends at 4 GiB; its last 128 KiB also lie below 1 MiB.
    image = ROMImage(bios.bytes)
    let size = UInt64(image.count)
    bench.memory.mapROM(image.bytes, name: "bios", start: 0x1_0000_0000 - size, length: size)
    let low = min(size, 0x20000)
    bench.memory.mapROM(image.bytes + Int(size - low), name: "bios.low", start: 0x100000 - low, length: low)
    // The debug ports have it, where they are, with all that is written.
    let requests = bench.requests
    words =
      bench.configuration.debugPorts
      ? nil : FirmwareWords(ports: bench.ports) { requests.log(VirtualMachine.nothingBootable) }
    // A teleport or a saved state will ask for the files' digests, and should not have to wait for them.
    let files = [bios, vgaBIOS] + bootFiles
    DispatchQueue.global(qos: .utility).async { for file in files { _ = file.blob } }
  }

  var roms: [HardwareDescription.Blob] { [bios, vgaBIOS, BootItems.bootROM].map(\.blob) }
  var bootBlobs: [HardwareDescription.Blob] { bootFiles.map(\.blob) }
}
