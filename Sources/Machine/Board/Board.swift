import Devices
import DiskImages
import GuestMemory
import X86

/// The main board: an i440FX with a PIIX3, laid out as the virtual boards that SeaBIOS and the guests' drivers know.
///
/// A configuration goes in, devices joined by wires come out. Each part builds its own devices (`BoardPart`); here stands in
/// what order they are built and which part is wired to which. What the machine must do about the board's state is asked
/// for through `onRequest`.
final class Board {
  private let bench: Workbench
  private let interrupts: InterruptPart
  private let pci: PCIPart
  private let platform: PlatformPart
  private let firmware: FirmwarePart
  private let storage: StoragePart
  private let graphics: GraphicsPart
  private let network: NetworkPart
  private let serial: SerialPart
  private let processors: CPUPart
  /// Every device with state, in the order of saving and resetting.
  let devices: [any Device]

  init(_ configuration: MachineConfiguration, identity: MachineIdentity, lock: MachineLock) throws {
    bench = try Workbench(configuration, lock: lock)
    interrupts = InterruptPart(bench)
    pci = PCIPart(bench, interrupts)
    let timers = TimerPart(bench, interrupts)
    platform = PlatformPart(bench, interrupts)
    firmware = try FirmwarePart(bench, pci, identity: identity)
    storage = try StoragePart(bench, interrupts, pci, platform)
    timers.fillCMOS(bench, floppies: storage.floppyModels)
    graphics = GraphicsPart(bench, pci, bios: firmware.vgaBIOS)
    let sockets = AddOn.Sockets(bench: bench, interrupts: interrupts, pci: pci.bus)
    network = try NetworkPart(sockets)
    serial = SerialPart(sockets)
    let addOns = AddOn.all.compactMap { $0.make(configuration, sockets) }
    processors = try CPUPart(bench, interrupts, platform)
    let parts: [any BoardPart] = [
      interrupts, pci, timers, platform, firmware, storage, graphics, network, serial,
    ]
    devices = parts.flatMap(\.devices) + addOns
    reset()
  }

  // MARK: The machine's side

  /// Set by the machine. Called with the machine lock held or from a CPU's thread.
  var onRequest: (VirtualMachine.Request) -> Void {
    get { bench.requests.onRequest }
    set { bench.requests.onRequest = newValue }
  }
  var log: (String) -> Void {
    get { bench.requests.onLog }
    set { bench.requests.onLog = newValue }
  }

  var onDiskFailure: @Sendable (DiskImageError, _ before: Int) -> Void {
    get { bench.requests.onDiskFailure }
    set { bench.requests.onDiskFailure = newValue }
  }

  func reset() {
    for device in devices { device.reset() }
    processors.reset()
  }

  /// Takes the devices apart: those that are wired to each other would keep each other for ever. The last that is done.
  func dismantle() {
    memory.unmapAll()
    bench.ports.unmapAll()
    interrupts.fabric.disconnectAll()
  }

  func pressPowerButton() { pci.power.pressPowerButton() }

  func injectNMI() {
    for apic in interrupts.apics {
      apic.setLINT1(true)
      apic.setLINT1(false)
    }
  }

  // MARK: What is on it

  var memory: PhysicalMemory { bench.memory }
  var ports: PortBus { bench.ports }
  var clock: GuestClock { bench.clock }
  /// nil: guest time is the host's.
  var instructionClock: InstructionClock? { bench.instructionClock }
  var cpus: [CPU] { processors.cpus }
  var environments: [BoardEnvironment] { processors.environments }
  var profile: CPUProfile { processors.profile }
  var disks: any DiskWorker { storage.disks }
  var vga: VGA { graphics.vga }
  var keyboard: Keyboard8042 { platform.keyboard }
  /// By slot, the virtio console's behind those of the UARTs.
  var serialPorts: [Int: SerialPort] { serial.ports }
  /// By slot.
  var networkPorts: [Int: NetworkPort] { network.ports }
  var pciDescription: String { pci.description }
  var images: [any DiskImage] { storage.images }
  var media: [(slot: HardwareDescription.StorageSlot, image: any DiskImage)] { storage.media }
  var storageSlots: [HardwareDescription.StorageSlot] { storage.slots }
  var floppy: FloppyController? { storage.floppy }
  func prepare(_ image: any DiskImage) -> any DiskImage { storage.prepare(image) }
  func drive(at place: HardwareDescription.StorageSlot.Place) -> IDEDrive? { storage.drive(at: place) }
  func note(_ disc: (any DiskImage)?, at place: HardwareDescription.StorageSlot.Place) { storage.note(disc, at: place) }
  var roms: [HardwareDescription.Blob] { firmware.roms + network.roms }
  var bootFiles: [HardwareDescription.Blob] { firmware.bootBlobs }
}
