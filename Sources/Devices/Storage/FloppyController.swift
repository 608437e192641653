import DiskImages
import Foundation
import GuestMemory
import SavedState

/// The floppy controller with its drives, at ports 3F2H to 3F5H and 3F7H, on DMA channel 2.
///
/// In AT mode the chip has nothing at 3F0H and 3F1H (82077AA data sheet, 2.1); 3F6H is the IDE controller's. A request to the
/// host is submitted as soon as there is one, and never while the machine is paused: then it stays in the state.
public final class FloppyController: Device, BytePortIO, DMAChannelPeer {
  /// A drive as it is at power-on.
  public struct Drive {
    let model: FloppyDriveModel
    let image: (any DiskImage)?

    /// A drive that the disk fits; an empty one is of 1.44 MB.
    /// - Parameter image: nil: empty. Its size must be a `FloppyFormat`'s, or the drive is empty, too.
    public init(image: (any DiskImage)?) {
      let format = image.flatMap { FloppyFormat(bytes: $0.size) }
      model = FloppyDriveModel(for: format)
      self.image = format == nil ? nil : image
    }
  }

  public let name = "fdc"
  var core: FloppyCore
  private var images: [(any DiskImage)?]
  private let buffer: UnsafeMutablePointer<UInt8>
  private unowned let dma: DMA8237
  private let line: InterruptLine
  private let worker: any DiskWorker
  /// A request is with the worker.
  private var isBusy = false
  private var isHolding = false
  private var isAdvancing = false
  private static let channel = 2

  /// - Parameters:
  ///   - drives: A and B; nil: there is none.
  ///   - line: to input 6 of the interrupt controllers.
  public init(drives: [Drive?], ports: PortBus, dma: DMA8237, line: InterruptLine, worker: any DiskWorker) {
    precondition(drives.count == 2)
    buffer = UnsafeMutablePointer<UInt8>.allocate(capacity: FloppyCore.sectorSize)
    buffer.initialize(repeating: 0, count: FloppyCore.sectorSize)
    images = drives.map { $0?.image }
    core = FloppyCore(
      drives: drives.map { $0?.model }, media: images.map { $0.flatMap(Self.medium) }, buffer: buffer)
    self.dma = dma
    self.line = line
    self.worker = worker
    dma.connect(self, channel: Self.channel)
    ports.map(self, 0x3F2...0x3F5)
    ports.map(self, 0x3F7...0x3F7)
  }

  deinit { buffer.deallocate() }

  private static func medium(_ image: any DiskImage) -> FloppyCore.Medium? {
    FloppyFormat(bytes: image.size).map { .init(format: $0, isReadOnly: image.isReadOnly) }
  }

  // MARK: Ports

  public func readByte(_ port: UInt16) -> UInt8 {
    switch port {
    case 0x3F2: return core.state.output
    // Bits that the chip does not drive.
    case 0x3F3: return core.state.tape | 0xFC
    case 0x3F4: return core.mainStatus
    case 0x3F5:
      let value = core.readData()
      advance()
      return value
    default: return core.digitalInput
    }
  }

  public func writeByte(_ port: UInt16, _ value: UInt8) {
    switch port {
    case 0x3F2:
      if core.drops(.output, value) { quiesce() }
      core.writeOutput(value)
    case 0x3F3: core.writeTape(value)
    case 0x3F4:
      if core.drops(.rate, value) { quiesce() }
      core.writeRate(value)
    case 0x3F5: core.writeData(value)
    default: core.writeControl(value)
    }
    advance()
  }

  // MARK: Disks (machine lock held)

  /// Whether there is a drive 0 (A) or 1 (B).
  public func hasDrive(_ number: Int) -> Bool { model(of: number) != nil }

  /// What a drive is; nil: there is none.
  public func model(of number: Int) -> FloppyDriveModel? {
    core.state.drives.indices.contains(number) ? core.state.drives[number]?.model : nil
  }

  /// Takes the disk out of a drive and puts another in, or none. The guest learns of it by the change line; what it was
  /// doing with the old one fails.
  /// - Parameter image: of a format that the drive takes.
  public func change(_ number: Int, to image: (any DiskImage)?) {
    guard hasDrive(number) else { return }
    quiesce()
    images[number] = image
    core.mediumChanged(number, to: image.flatMap(Self.medium))
    advance()
  }

  /// After a load: the disk in the drive, if there is one, is not the one that was in it when the state was saved.
  public func diskWasReplaced(_ number: Int) {
    guard hasDrive(number) else { return }
    core.mediumChanged(number, to: core.media[number])
    updateLine()
  }

  // MARK: Progress

  /// Does what can be done now: has the host read and write, and moves data, until both wait for something.
  private func advance() {
    guard !isAdvancing else { return }
    isAdvancing = true
    repeat { while submit() {} } while moveData()
    isAdvancing = false
    updateLine()
  }

  private func updateLine() { line.set(core.interruptLine) }

  /// - Returns: whether something has been moved, so that the core may want something new.
  private func moveData() -> Bool {
    guard !isHolding, core.wantsDMA, let before = core.state.transfer?.cursor else { return false }
    dma.service(Self.channel)
    guard core.state.transfer?.cursor != before else { return false }
    core.dataMoved()
    return true
  }

  public func dmaRead(into buffer: UnsafeMutableRawBufferPointer) -> Int { core.give(buffer) }
  public func dmaWrite(from buffer: UnsafeRawBufferPointer) -> Int { core.take(buffer) }
  public func dmaTerminalCount() { core.terminalCount() }
  public func dmaChannelOpened() { advance() }

  private struct BufferReference: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<UInt8>
  }

  /// Where the worker leaves how it went; read after it is done.
  private final class Outcome: @unchecked Sendable {
    var succeeded = false
  }

  /// Hands the core's request to the worker, if there is one.
  /// - Returns: whether it is done already, so that the core may have another.
  private func submit() -> Bool {
    guard let request = core.state.request, !isBusy, !isHolding else { return false }
    guard let unit = core.state.transfer?.unit, let image = images[unit],
      let offset = request == .flush ? 0 : core.requestOffset
    else {
      core.complete(success: false)
      return true
    }
    isBusy = true
    let outcome = Outcome()
    let reference = BufferReference(pointer: buffer)
    worker.submit {
      outcome.succeeded = Self.perform(request, at: offset, on: image, reference.pointer)
    } completion: { [unowned self] in
      isBusy = false
      core.complete(success: outcome.succeeded)
      advance()
    }
    return !isBusy
  }

  private static func perform(
    _ request: FloppyCore.Request, at offset: UInt64, on image: any DiskImage, _ buffer: UnsafeMutablePointer<UInt8>
  ) -> Bool {
    do throws(DiskImageError) {
      switch request {
      case .read:
        try image.read(
          at: offset, into: UnsafeMutableRawBufferPointer(start: buffer, count: FloppyCore.sectorSize))
      case .write:
        try image.write(at: offset, from: UnsafeRawBufferPointer(start: buffer, count: FloppyCore.sectorSize))
      case .flush: try image.flush()
      }
      return true
    } catch {
      image.note(failure: error)
      return false
    }
  }

  /// Waits for the host's work in flight. What follows from it is held.
  private func quiesce() {
    guard isBusy else { return }
    let wasHolding = isHolding
    isHolding = true
    worker.drain()
    isHolding = wasHolding
  }

  // MARK: Device

  public func reset() {
    quiesce()
    core.hardReset()
    updateLine()
  }

  public func pause() {
    isHolding = true
    quiesce()
  }

  public func resume() {
    isHolding = false
    advance()
  }

  private struct Saved: Codable {
    var core: FloppyCore.State
    var line: Bool
  }
  private static let kind = "i82077"
  private static let version = 1

  /// The buffer is the section's blob.
  public func save() throws -> StateSection {
    try StateSection(
      name: name, kind: Self.kind, version: Self.version, state: Saved(core: core.state, line: line.level),
      blob: Data(bytes: buffer, count: FloppyCore.sectorSize))
  }

  /// What a drive is comes with the state: the disk that was in it at power-on may have been taken out since.
  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: Self.kind, upTo: Self.version)
    try requireValid(saved.core.isPlausible, in: section, "registers")
    try requireValid(section.blob.count == FloppyCore.sectorSize, in: section, "the length of the buffer")
    for (now, then) in zip(core.state.drives, saved.core.drives) where (now == nil) != (then == nil) {
      throw SavedStateError.mismatch("section \(name): other drives are there than were when it was saved")
    }
    for (medium, drive) in zip(core.media, saved.core.drives) {
      guard let medium, let drive, !drive.model.takes(medium.format) else { continue }
      throw SavedStateError.mismatch(
        "section \(name): a disk of \(medium.format.label) does not go into the drive of \(drive.model.rawValue)")
    }
    core.state = saved.core
    section.blob.copyBytes(to: buffer, count: FloppyCore.sectorSize)
    line.restore(saved.line)
  }
}
