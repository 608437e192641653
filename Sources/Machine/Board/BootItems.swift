import Devices
import Foundation
import GuestMemory
import X86

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
    let isLinux = LinuxImage.isOne(files[0].bytes)
    if !isLinux { try checkMultiboot(files[0].bytes, kernel) }
    if let initrd = configuration.initrd {
      let modules = BootModule.list(initrd)
      guard modules.count == 1 || !isLinux else {
        throw .severalInitrds(text: initrd, count: modules.count)
      }
      guard modules.count <= moduleLimit else {
        throw .tooManyModules(count: modules.count, limit: moduleLimit)
      }
      for (index, module) in modules.enumerated() {
        let name = index == 0 ? "initrd" : "module \(index)"
        files.append(try GuestFile(name: name, setting: "initrd", path: module.path))
      }
    }
    if let linux = LinuxImage(files[0].bytes) {
      try linux.check(
        initrd: files.first { $0.name == "initrd" }?.bytes.count ?? 0,
        commandLine: configuration.append?.utf8.count ?? 0,
        memory: min(UInt64(configuration.memoryMB) << 20, PhysicalMemory.lowLimit))
    }
    if let append = configuration.append {
      files.append(GuestFile(name: "command line", setting: "append", bytes: Array(append.utf8)))
    }
    return files
  }

  private static let moduleLimit = 64

  /// The boot ROM looks for the multiboot header on a multiple of 4 in the first 8 KiB (specification 0.6.96, 3.1). What it
  /// says of the kernel's segments it says on the machine's console.
  private static func checkMultiboot(_ kernel: [UInt8], _ path: String) throws(MachineError) {
    let magic: [UInt8] = [0x02, 0xB0, 0xAD, 0x1B]
    func isHeader(_ offset: Int) -> Bool { kernel[offset..<offset + 4].elementsEqual(magic) }
    let reach = 8192
    if stride(from: 0, through: min(kernel.count, reach) - 12, by: 4).contains(where: isHeader) { return }
    if let late = stride(from: reach - 8, through: min(kernel.count, 1 << 20) - 12, by: 4).first(where: isHeader) {
      throw .multibootHeaderLate(path: path, offset: late, reach: reach)
    }
    throw .notAKernel(path: path)
  }

  /// The bootstrap code that starts a kernel: see firmware/boot/README.md.
  static var bootROM: GuestFile {
    GuestFile(name: "boot ROM", setting: "", bytes: PackageResources.vmctl_boot_bin)
  }

  /// Hands the firmware the board's tables: ACPI and MP by its loader's script, SMBIOS as two files.
  ///
  /// - Parameter powerBase: first port of the power management block; asked when the firmware, which sets it, reads the
  ///   tables.
  static func addTables(
    _ config: FirmwareConfig, _ configuration: MachineConfiguration, identity: MachineIdentity, profile: CPUProfile,
    memory: PhysicalMemory, powerBase: @escaping () -> UInt16?
  ) {
    let board = DSDT.Board(
      cpus: configuration.cpus, uarts: configuration.uarts.map { ($0.slot, $0.ioBase, $0.irq) },
      ethernet: configuration.isaAdapters, hasFloppy: configuration.hasFloppyController,
      hasHPET: configuration.hpet,
      panicPort: configuration.pvpanic ? PVPanic.port : nil,
      pciMemoryStart: memory.lowSize <= 0x8000_0000 ? 0x8000_0000 : 0xC000_0000)
    func tables(_ loader: inout TableLoader) -> ACPITables {
      ACPITables(board, powerBase: powerBase() ?? 0x600, loader: &loader)
    }
    var loader = TableLoader()
    let acpi = tables(&loader)
    let processors = MPTable(
      cpus: configuration.cpus, signature: profile.signature, features: profile.query(1, 0).edx, loader: &loader)
    config.add(file: TableLoader.fileName, data: Data(loader.bytes))
    config.add(file: ACPITables.rootFile, data: Data(acpi.root.bytes))
    config.add(file: ACPITables.tablesFile, size: acpi.tables.count) {
      var unused = TableLoader()
      return Data(tables(&unused).tables.bytes)
    }
    config.add(file: MPTable.fileName, data: Data(processors.bytes.bytes))

    let smbios = SMBIOSTables(
      identity, cpus: configuration.cpus, profile: profile,
      memory: ramRanges(memory).map { $0.0..<$0.0 + $0.1 })
    config.add(file: SMBIOSTables.tablesFile, data: Data(smbios.tables.bytes))
    config.add(file: SMBIOSTables.anchorFile, data: Data(smbios.anchor.bytes))
    let uuid = withUnsafeBytes(of: identity.uuid.uuid) { Data($0) }
    config.add(key: FirmwareConfig.Key.uuid, data: uuid)
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
    let isLinux = files.first.map { LinuxImage.isOne($0.bytes) } ?? true
    var module = 0
    for file in files {
      let data = Data(file.bytes)
      switch file.setting {
      case "kernel":
        config.add(file: "opt/vmctl/kernel", data: data)
        let name = URL(fileURLWithPath: file.path ?? "").lastPathComponent
        config.add(file: "opt/vmctl/kernel-name", data: Data(name.utf8))
      case "append": config.add(file: "opt/vmctl/cmdline", data: data)
      case "initrd" where isLinux: config.add(file: "opt/vmctl/initrd", data: data)
      default:
        config.add(file: "opt/vmctl/module/\(module)", data: data)
        let line = BootModule.list(configuration.initrd ?? "")[module].line
        config.add(file: "opt/vmctl/module-line/\(module)", data: Data(line.utf8))
        module += 1
      }
    }
  }

  /// SeaBIOS's names of the drives that a boot device stands for, in Open Firmware's notation.
  static func paths(of device: MachineConfiguration.BootDevice, _ configuration: MachineConfiguration)
    -> [String]
  {
    let kind: MachineConfiguration.Attachment.Kind
    switch device {
    case .none: return []
    // The path as SeaBIOS forms it, slots in hexadecimal (SeaBIOS: src/boot.c).
    case .net:
      return configuration.networkAdapters.sorted { first, second in
        func turn(_ card: MachineConfiguration.NetworkAdapter) -> (Int, Int) {
          (card.bootPriority == 0 ? .max : card.bootPriority, card.slot)
        }
        return turn(first) < turn(second)
      }.map {
        "/pci@i0cf8/ethernet@\(String($0.slot + 2, radix: 16))/ethernet-phy@0"
      }
    case .floppy: kind = .fdd
    case .dvd: kind = .dvddrive
    case .disk: kind = .hdd
    }
    return configuration.storageControllers.flatMap { controller in
      controller.attachments.filter { $0.kind == kind }.sorted { ($0.port, $0.device) < ($1.port, $1.device) }.map {
        switch controller.bus {
        case .ide: "/pci@i0cf8/ide@1,1/drive@\($0.port)/disk@\($0.device)"
        case .floppy: "/pci@i0cf8/isa@1/fdc@03f0/floppy@\($0.device)"
        case .virtio: "/pci@i0cf8/scsi@\(String(StoragePart.firstVirtioSlot + $0.port, radix: 16))/disk@0,0"
        }
      }
    }
  }

  /// Base and length of the RAM below and above 4 GiB.
  private static func ramRanges(_ memory: PhysicalMemory) -> [(UInt64, UInt64)] {
    var ranges: [(UInt64, UInt64)] = [(0, memory.lowSize)]
    if memory.size > memory.lowSize { ranges.append((PhysicalMemory.highBase, memory.size - memory.lowSize)) }
    return ranges
  }

  /// RAM as E820 entries: base, length, type 1, each little-endian.
  private static func memoryMap(_ memory: PhysicalMemory) -> Data {
    var data = Data()
    for (base, length) in ramRanges(memory) {
      withUnsafeBytes(of: base.littleEndian) { data.append(contentsOf: $0) }
      withUnsafeBytes(of: length.littleEndian) { data.append(contentsOf: $0) }
      withUnsafeBytes(of: UInt32(1).littleEndian) { data.append(contentsOf: $0) }
    }
    return data
  }
}

/// The CMOS bytes that firmware of this board reads its memory size and CPU count from (SeaBIOS: src/hw/rtc.h).
enum CMOSLayout {
  /// - Parameter floppies: what the drives A and B are; nil: there is none.
  static func fill(
    _ rtc: RTC146818, _ configuration: MachineConfiguration, memory: PhysicalMemory, floppies: [FloppyDriveModel?]
  ) {
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
    // Floppy drives: A in the upper half.
    rtc[cmos: 0x10] = (floppies[0]?.cmosType ?? 0) << 4 | (floppies[1]?.cmosType ?? 0)
    // Equipment: a display, an FPU and a PS/2 mouse; bit 0 and bits 6 and 7: floppy drives, and how many besides one.
    let drives = UInt8(floppies.count { $0 != nil })
    rtc[cmos: 0x14] = 0x06 | (drives == 0 ? 0 : 1 | (drives - 1) << 6)
  }
}
