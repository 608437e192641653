import CHost
import Devices
import DiskImages
import Foundation
import GuestMemory
import SavedState
import X86

/// The main board: an i440FX with a PIIX3, laid out as the virtual boards that SeaBIOS and the guests' drivers know.
///
/// A configuration goes in, devices joined by wires come out. What the machine must do about the board's state is asked
/// for through `onRequest`.
final class Board {
  let memory: PhysicalMemory
  let clock = GuestClock()
  let ports = PortBus()
  let fabric = InterruptFabric()
  let profile: CPUProfile
  private(set) var cpus: [CPU] = []
  private(set) var environments: [BoardEnvironment] = []
  /// Every device with state, in the order of saving and resetting.
  private(set) var devices: [any Device] = []
  let disks: any DiskWorker
  let vga: VGA
  let keyboard: Keyboard8042
  private(set) var uarts: [Int: SerialPort] = [:]
  private let ide: PIIX3IDE
  private let pci: PCIBus
  private let power: PIIX4PM
  private let coprocessorError: CoprocessorErrorLatch
  private let pic: PIC8259
  private let wires: InterruptWires
  private let serialLines: SharedLines
  private var attached: [(slot: HardwareDescription.StorageSlot, image: (any DiskImage)?)] = []
  private let romFiles: [GuestFile]
  private let guestFiles: [GuestFile]
  private var romImages: [ROMImage] = []

  /// Set by the machine. Called with the machine lock held or from a CPU's thread.
  var onRequest: (VirtualMachine.Request) -> Void = { _ in }
  var log: (String) -> Void = { _ in }

  init(_ configuration: MachineConfiguration, lock: MachineLock) throws {
    profile = try Self.profile(of: configuration)
    memory = try PhysicalMemory(size: UInt64(configuration.memoryMB) << 20)
    let bios = try FirmwareImages.systemBIOS(configuration.firmware)
    let vgaBIOS = try FirmwareImages.vgaBIOS()
    romFiles = [bios, vgaBIOS]
    guestFiles = try BootItems.files(of: configuration)
    let worker = ThreadDiskWorker(name: "vmctl.disks") { body in lock.withLock(body) }
    disks = worker

    // Interrupts
    pic = PIC8259(ports: ports)
    let ioapic = IOAPIC(memory: memory, fabric: fabric)
    wires = InterruptWires(pic: pic, ioapic: ioapic)
    var apics: [LocalAPIC] = []
    for index in 0..<configuration.cpus { apics.append(LocalAPIC(index: index, fabric: fabric, clock: clock)) }
    fabric.mapWindow(memory)

    // PCI
    pci = PCIBus(ports: ports)
    let bridge = I440FX(memory: memory, bus: pci)
    let piix3 = PIIX3(bus: pci, interrupts: wires)

    // Timers. The HPET, where there is one, takes the places of PIT and RTC in its legacy mode.
    let hpet =
      configuration.hpet
      ? HPET(memory: memory, clock: clock, wires: wires, ioapicPin: { [unowned ioapic] in ioapic.setPin($0, $1) }) : nil
    let pit = PIT8254(ports: ports, clock: clock, irq: hpet?.pitInput ?? wires.line(0))
    let rtc = RTC146818(
      ports: ports, clock: clock, irq: hpet?.rtcInput ?? wires.line(8),
      date: Self.hostDate(utc: configuration.rtcUseUTC), wallClock: Self.wallClock)
    CMOSLayout.fill(rtc, configuration, memory: memory)

    // Platform
    let relay = RequestRelay()
    let dma = DMA8237(ports: ports, memory: memory)
    keyboard = Keyboard8042(ports: ports, clock: clock, keyboardIRQ: wires.line(1), mouseIRQ: wires.line(12))
    let reset = ResetPorts(ports: ports)
    coprocessorError = CoprocessorErrorLatch(ports: ports, irq: wires.line(13))
    power = PIIX4PM(
      bus: pci, ports: ports, clock: clock, sci: wires.line(9), serialPorts: configuration.uarts.map(\.ioBase))
    let config = FirmwareConfig(ports: ports, memory: memory)
    BootItems.fill(config, configuration, files: guestFiles, memory: memory)

    // Storage, serial, graphics
    var drives: [IDEDrive?] = [nil, nil, nil, nil]
    for controller in configuration.storageControllers {
      for attachment in controller.attachments {
        let image = try Self.open(attachment)
        let place = attachment.port * 2 + attachment.device
        guard (0..<4).contains(place), drives[place] == nil else {
          throw MachineError(
            "port \(attachment.port) device \(attachment.device) of \(controller.name) is not free",
            remedy: "an IDE controller has ports 0 and 1 with devices 0 and 1")
        }
        let serial = "VMCTL\(place)"
        switch attachment.kind {
        case .hdd:
          guard let image else {
            throw MachineError("a hard disk needs a medium", remedy: "attach one with --medium FILE")
          }
          drives[place] = IDEDrive(disk: image, serial: serial)
        case .dvddrive: drives[place] = IDEDrive(cdrom: image, serial: serial)
        }
        let slot = HardwareDescription.StorageSlot(
          controller: controller.name, bus: controller.bus, port: attachment.port, device: attachment.device,
          kind: attachment.kind, mode: attachment.mode, medium: nil)
        attached.append((slot, image))
      }
    }
    ide = PIIX3IDE(
      drives: drives, lines: (wires.line(14), wires.line(15)), memory: memory, ports: ports, worker: worker)
    pci.attach(ide, slot: 1, function: 1)
    vga = VGA(
      vramSize: configuration.vramMB << 20, rom: vgaBIOS.bytes, memory: memory, ports: ports, clock: clock)
    pci.attach(vga, slot: 2)
    serialLines = SharedLines(wires: wires)
    for uart in configuration.uarts {
      let device = UART16550(
        name: "uart\(uart.slot)", ioBase: uart.ioBase, interruptNumber: uart.irq, line: serialLines.line(uart.irq),
        clock: clock)
      device.attach(to: ports)
      uarts[uart.slot] = SerialPort(uart: device, lock: lock)
    }

    devices = [pic, ioapic] + apics
    devices += [wires, pci, bridge, piix3, pit, rtc, dma, keyboard, reset, coprocessorError, power, config, ide, vga]
    if let hpet { devices.append(hpet) }
    devices += configuration.uarts.compactMap { uarts[$0.slot]?.uart }

    // Requests of the guest
    reset.onReset = { relay.send(.reset) }
    keyboard.onReset = { relay.send(.reset) }
    power.onPowerOff = { relay.send(.powerOff) }
    keyboard.onA20 = { [unowned self, unowned reset] in
      reset.a20Changed($0)
      setA20($0)
    }
    reset.onA20 = { [unowned self, unowned keyboard] in
      keyboard.a20Changed($0)
      setA20($0)
    }
    if configuration.debugPorts {
      devices.append(
        DebugPorts(
          ports: ports, log: { [unowned self] in log($0) }, onExit: { relay.send(.exit(Int32($0) << 1 | 1)) }))
    }

    try mapSystemBIOS(bios)
    let group = CPUGroup()
    for apic in apics {
      let environment = BoardEnvironment(board: self, apic: apic, lock: lock)
      let cpu = CPU(index: apic.index, profile: profile, memory: memory, environment: environment)
      environment.cpu = cpu
      cpu.accelerator = configuration.accelerator == .translator ? .translator : .interpreter
      environment.connect()
      apic.acknowledgeExternal = { [unowned pic] in pic.acknowledge() }
      cpu.join(group)
      cpus.append(cpu)
      environments.append(environment)
    }
    relay.handler = { [unowned self] in onRequest($0) }
    pic.setOutput = { level in apics[0].setLINT0(level) }
    memory.onMapChanged = { [unowned self] in
      for environment in environments { environment.post(UInt32(VM_PENDING_TLB_FLUSH)) }
    }
    memory.onCodeWritten = { [unowned self] address, length in
      for cpu in cpus { cpu.codeOverwritten(physical: address, length: length) }
    }
    self.reset()
    // A teleport or a saved state will ask for the files' digests, and should not have to wait for them.
    let files = romFiles + guestFiles
    DispatchQueue.global(qos: .utility).async { for file in files { _ = file.blob } }
  }

  // MARK: Parts of the construction

  private static func profile(of configuration: MachineConfiguration) throws(MachineError) -> CPUProfile {
    guard var profile = CPUProfile.named(configuration.cpuProfile) else {
      let known = CPUProfile.all.map(\.name).joined(separator: ", ")
      throw MachineError(
        "there is no CPU profile \(configuration.cpuProfile)", remedy: "choose one with --cpu-profile: \(known)")
    }
    for change in configuration.cpuidOverrides {
      if let registers = change.registers, registers.count == 4 {
        profile = profile.setting(
          CPUIDLeaf(
            change.leaf, change.subleaf, eax: registers[0], ebx: registers[1], ecx: registers[2], edx: registers[3]))
      } else {
        profile = profile.removing(leaf: change.leaf, subleaf: change.subleaf)
      }
    }
    return profile
  }

  private static func open(_ attachment: MachineConfiguration.Attachment) throws -> (any DiskImage)? {
    guard let path = attachment.medium else { return nil }
    return try RawImage(
      path: path, readOnly: attachment.kind == .dvddrive || attachment.mode == .readonly,
      insists: attachment.format == .raw)
  }

  /// The host's wall clock, nanoseconds since 1970, UTC.
  private static func wallClock() -> Int64 {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
  }

  /// Seconds since 1970 for the clock chip: UTC, or the host's local time.
  private static func hostDate(utc: Bool) -> Int64 {
    // As the host's own programs take TZ, which Foundation reads otherwise ("UTC-3" is east of Greenwich).
    var now = time(nil)
    var local = tm()
    localtime_r(&now, &local)
    return Int64(now) + (utc ? 0 : Int64(local.tm_gmtoff))
  }

  /// The ROM ends at 4 GiB; its last 128 KiB also lie below 1 MiB.
  private func mapSystemBIOS(_ file: GuestFile) throws(MachineError) {
    let image = ROMImage(file.bytes)
    romImages.append(image)
    let size = UInt64(image.count)
    memory.mapROM(image.bytes, name: "bios", start: 0x1_0000_0000 - size, length: size)
    let low = min(size, 0x20000)
    memory.mapROM(image.bytes + Int(size - low), name: "bios.low", start: 0x100000 - low, length: low)
  }

  // MARK: The machine's side

  func reset() {
    for device in devices { device.reset() }
    for cpu in cpus { cpu.reset() }
    setA20(true)
    // Only the first CPU starts by itself (Intel SDM vol. 3A, 8.4.1).
    for cpu in cpus.dropFirst() { cpu.s.pointee.activity = UInt32(VM_WAIT_FOR_SIPI) }
  }

  /// After a load: what is derived from the devices' state and not saved itself.
  func stateLoaded() {}

  private func setA20(_ open: Bool) {
    for (cpu, environment) in zip(cpus, environments) {
      cpu.s.pointee.a20_mask = open ? .max : ~(1 << 20)
      environment.post(UInt32(VM_PENDING_TLB_FLUSH))
    }
  }

  func pressPowerButton() { power.pressPowerButton() }

  func raiseFloatingPointError() { coprocessorError.raise() }

  /// Slot, function, ids and class of every PCI function.
  var pciDescription: String {
    var lines: [String] = []
    for slot in 0..<32 {
      for function in 0..<8 {
        guard let device = pci.device(slot: slot, function: function) else { continue }
        let id = device.readConfiguration(0, size: 4)
        let kind = device.readConfiguration(8, size: 4) >> 8
        lines.append(
          "00:\(slot).\(function) \(device.pciName) id \(String(id, radix: 16)) class \(String(kind, radix: 16))")
      }
    }
    return lines.joined(separator: "\n")
  }

  var images: [any DiskImage] { attached.compactMap(\.image) }
  var media: [(slot: HardwareDescription.StorageSlot, image: any DiskImage)] {
    attached.compactMap { slot, image in image.map { (slot, $0) } }
  }
  /// With what is in the drives now.
  var storageSlots: [HardwareDescription.StorageSlot] {
    attached.map { slot, image in
      var slot = slot
      slot.medium = image?.identity
      return slot
    }
  }

  func drive(at place: HardwareDescription.StorageSlot.Place) -> IDEDrive? {
    ide.drive(channel: place.port, device: place.device)
  }
  var roms: [HardwareDescription.Blob] { (romFiles + [BootItems.bootROM]).map(\.blob) }
  var bootFiles: [HardwareDescription.Blob] { guestFiles.map(\.blob) }
}

/// Carries a guest's request from a device to the machine, which is not there yet when the devices are made.
private final class RequestRelay {
  var handler: (VirtualMachine.Request) -> Void = { _ in }
  func send(_ request: VirtualMachine.Request) { handler(request) }
}
