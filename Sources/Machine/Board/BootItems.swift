import Devices
import Foundation
import GuestMemory

/// What the firmware is told through fw_cfg: memory, CPUs, boot order, and a kernel to start without a boot loader.
enum BootItems {
  /// The kernel, initial RAM disk and command line that the configuration names.
  static func files(of configuration: MachineConfiguration) throws(MachineError) -> [GuestFile] {
    guard let kernel = configuration.kernel else {
      if configuration.initrd != nil || configuration.append?.isEmpty == false {
        throw .initrdWithoutKernel
      }
      return []
    }
    var files = [try GuestFile(name: "kernel", setting: "kernel", path: kernel)]
    guard isBootable(files[0].bytes) else {
      throw .notAKernel(path: kernel)
    }
    if let initrd = configuration.initrd {
      files.append(try GuestFile(name: "initrd", setting: "initrd", path: initrd))
    }
    if let append = configuration.append {
      files.append(GuestFile(name: "command line", setting: "append", bytes: Array(append.utf8)))
    }
    return files
  }

  /// Whether the boot ROM knows it: the signature of a bzImage's header (Linux, Documentation/arch/x86/boot.rst) or, on a
  /// multiple of 4 in the first 8 KiB, that of multiboot (specification 0.6.96, 3.1).
  private static func isBootable(_ kernel: [UInt8]) -> Bool {
    if kernel.count > 0x206 && kernel[0x202..<0x206].elementsEqual([0x48, 0x64, 0x72, 0x53]) { return true }
    let magic: [UInt8] = [0x02, 0xB0, 0xAD, 0x1B]
    let end = min(kernel.count, 8192) - 12
    return stride(from: 0, through: end, by: 4).contains { kernel[$0..<$0 + 4].elementsEqual(magic) }
  }

  /// The bootstrap code that starts a kernel: see firmware/boot/README.md.
  static var bootROM: GuestFile {
    GuestFile(name: "boot ROM", setting: "", bytes: PackageResources.vmctl_boot_bin)
  }

  private static let bootROMName = "genroms/vmctl-boot.bin"

  /// Fills fw_cfg with what SeaBIOS asks for (SeaBIOS: src/fw/paravirt.c, src/boot.c) and with the kernel's files.
  static func fill(
    _ config: FirmwareConfig, _ configuration: MachineConfiguration, files: [GuestFile], memory: PhysicalMemory
  ) {
    config.add(key: FirmwareConfig.Key.ramSize, memory.size)
    config.add(key: FirmwareConfig.Key.cpuCount, UInt16(configuration.cpus))
    config.add(key: FirmwareConfig.Key.maxCPUs, UInt16(configuration.cpus))
    config.add(key: FirmwareConfig.Key.noGraphic, UInt16(0))
    config.add(key: FirmwareConfig.Key.bootMenu, UInt16(0))
    config.add(key: FirmwareConfig.Key.irq0Override, data: Data([1]))
    config.add(file: "etc/e820", data: memoryMap(memory))
    // Sleep states the tables may offer: S5 (type 0) and S4, not S3; bit 7 says that a state is there.
    config.add(file: "etc/system-states", data: Data([128, 0, 0, 1, 130, 128]))

    var order: [String] = []
    if !files.isEmpty {
      config.add(file: bootROMName, data: Data(bootROM.bytes))
      order.append("/rom@\(bootROMName)")
    }
    for device in configuration.bootOrder { order += paths(of: device, configuration) }
    if !order.isEmpty {
      config.add(file: "bootorder", data: Data((order.joined(separator: "\n") + "\nHALT\0").utf8))
    }
    let names = ["kernel": "opt/vmctl/kernel", "initrd": "opt/vmctl/initrd", "command line": "opt/vmctl/cmdline"]
    for file in files {
      if let name = names[file.name] { config.add(file: name, data: Data(file.bytes)) }
    }
  }

  /// SeaBIOS's names of the drives that a boot device stands for, in Open Firmware's notation.
  private static func paths(of device: MachineConfiguration.BootDevice, _ configuration: MachineConfiguration)
    -> [String]
  {
    let kind: MachineConfiguration.Attachment.Kind
    switch device {
    case .none, .floppy, .net: return []
    case .dvd: kind = .dvddrive
    case .disk: kind = .hdd
    }
    return configuration.storageControllers.flatMap(\.attachments).filter { $0.kind == kind }
      .sorted { ($0.port, $0.device) < ($1.port, $1.device) }
      .map { "/pci@i0cf8/ide@1,1/drive@\($0.port)/disk@\($0.device)" }
  }

  /// RAM as E820 entries: base, length, type 1, each little-endian.
  private static func memoryMap(_ memory: PhysicalMemory) -> Data {
    var ranges: [(UInt64, UInt64)] = [(0, memory.lowSize)]
    if memory.size > memory.lowSize { ranges.append((PhysicalMemory.highBase, memory.size - memory.lowSize)) }
    var data = Data()
    for (base, length) in ranges {
      withUnsafeBytes(of: base.littleEndian) { data.append(contentsOf: $0) }
      withUnsafeBytes(of: length.littleEndian) { data.append(contentsOf: $0) }
      withUnsafeBytes(of: UInt32(1).littleEndian) { data.append(contentsOf: $0) }
    }
    return data
  }
}

/// The CMOS bytes that firmware of this board reads its memory size and CPU count from (SeaBIOS: src/hw/rtc.h).
enum CMOSLayout {
  static func fill(_ rtc: RTC146818, _ configuration: MachineConfiguration, memory: PhysicalMemory) {
    func word(_ index: Int, _ value: UInt64) {
      rtc[cmos: index] = UInt8(truncatingIfNeeded: value)
      rtc[cmos: index + 1] = UInt8(truncatingIfNeeded: value >> 8)
    }
    let low = memory.lowSize
    word(0x15, 640)
    let extended = min(low > 1 << 20 ? (low - 1 << 20) >> 10 : 0, 65535)
    word(0x17, extended)
    word(0x30, extended)
    word(0x34, min(low > 16 << 20 ? (low - 16 << 20) >> 16 : 0, 65535))
    let high = (memory.size - low) >> 16
    word(0x5B, high)
    rtc[cmos: 0x5D] = UInt8(truncatingIfNeeded: high >> 16)
    rtc[cmos: 0x5F] = UInt8(configuration.cpus - 1)
    // Boot order: 1 floppy, 2 disk, 3 CD-ROM, 4 network, a nibble each.
    let codes = configuration.bootOrder.map { device -> UInt8 in
      switch device {
      case .none: 0
      case .floppy: 1
      case .disk: 2
      case .dvd: 3
      case .net: 4
      }
    }.filter { $0 != 0 }
    func code(_ index: Int) -> UInt8 { index < codes.count ? codes[index] : 0 }
    rtc[cmos: 0x3D] = code(0) | code(1) << 4
    rtc[cmos: 0x38] = code(2) << 4 | 1  // bit 0: no check for a boot signature on floppies
    // Equipment: a display, no floppy drive, an FPU and a PS/2 mouse.
    rtc[cmos: 0x14] = 0x06
  }
}
