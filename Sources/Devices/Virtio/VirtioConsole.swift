import GuestMemory
import SavedState

/// The console device of virtio with one port (hvc0 of Linux). What is typed waits in a queue of 64 KiB, which is part of the
/// saved state, until the guest has buffers for it.
///
/// Source: virtio 1.2, 5.3.
public final class VirtioConsole: VirtioPCI, Device {
  /// Bytes that wait for the guest at most.
  public static let queueSize = 65_536

  public let name: String
  /// A piece of what the guest prints. Called with the machine lock held: it must not block.
  public var onOutput: ([UInt8]) -> Void = { _ in }
  /// There is room again after `receive` could not take all.
  public var onReceiveRoom: () -> Void = {}

  private enum Feature {
    /// The device has a size in characters; a byte can be printed by the configuration.
    static let size = VirtioFeatures.bit(0)
    static let emergencyWrite = VirtioFeatures.bit(2)
  }
  private enum Queue {
    static let receive = 0
    static let transmit = 1
  }
  /// Bytes that one look into the queue prints, and that go out in one piece.
  private static let shareLimit = 1 << 18
  private static let pieceLimit = 65_536
  private static let configurationBytes = 12

  private var typed: [UInt8] = []
  private var wantsRoom = false
  /// Of the terminal that the guest is shown on, in characters.
  private var columns: UInt16 = 80
  private var rows: UInt16 = 25

  /// - Parameter fabric: takes messages in place of the interrupt pin.
  public init(
    name: String = "console", memory: PhysicalMemory, ports: PortBus, clock: GuestClock, fabric: InterruptFabric
  ) {
    self.name = name
    super.init(
      name: name,
      Kind(
        type: 3, deviceID: 0x1003, classCode: 0x078000, features: [Feature.size, Feature.emergencyWrite],
        queueSizes: [64, 64], configurationBytes: Self.configurationBytes), memory: memory, ports: ports, clock: clock,
      fabric: fabric)
  }

  /// Columns, rows, one port, and the place for a byte to print.
  override var deviceConfiguration: [UInt8] {
    let size = [columns, rows].flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
    return size + [1, 0, 0, 0, 0, 0, 0, 0]
  }

  /// The terminal has another size, in characters; the guest is told. Zeros are no size.
  public func resize(columns: UInt16, rows: UInt16) {
    guard columns > 0, rows > 0, (columns, rows) != (self.columns, self.rows) else { return }
    (self.columns, self.rows) = (columns, rows)
    configurationChanged()
  }

  override func writeDeviceConfiguration(_ offset: Int, _ value: UInt8) {
    // Allowed from the beginning on, whatever has been agreed on (5.3.5).
    if offset == 8 { onOutput([value]) }
  }

  override func resetDevice() {}

  override func serve(_ queue: Int) {
    if queue == Queue.receive { feed() } else { print() }
  }

  private func print() {
    var left = Self.shareLimit
    while left > 0 {
      guard let chain = next(Queue.transmit) else { return tell(Queue.transmit) }
      var done = 0
      // What is longer than a share is cut off: no driver writes a quarter of a megabyte at once.
      while done < min(chain.readableBytes, Self.shareLimit) {
        let piece = chain.read(Self.pieceLimit, from: done, memory: memory)
        onOutput(piece)
        done += piece.count
      }
      left -= max(done, 256)
      give(Queue.transmit, chain.head, written: 0)
    }
    tell(Queue.transmit)
    goOnLater()
  }

  // MARK: What is typed

  /// Free bytes in the queue.
  public var receiveRoom: Int { Self.queueSize - typed.count }

  /// Takes bytes for the guest, as many as there is room for.
  /// - Returns: how many were taken; the caller keeps the rest until `onReceiveRoom`.
  @discardableResult
  public func receive(_ bytes: some Collection<UInt8>) -> Int {
    let taken = min(bytes.count, receiveRoom)
    if taken < bytes.count { wantsRoom = true }
    typed.append(contentsOf: bytes.prefix(taken))
    feed()
    return taken
  }

  /// Has `onReceiveRoom` called when there is room again.
  public func wantReceiveRoom() { wantsRoom = true }

  private func feed() {
    guard canServe, isEnabled(Queue.receive) else { return }
    var done = 0
    while done < typed.count, let chain = next(Queue.receive) {
      guard chain.writableBytes > 0 else {
        breakDown()
        break
      }
      let written = chain.write(Array(typed[done...].prefix(chain.writableBytes)), memory: memory)
      give(Queue.receive, chain.head, written: written)
      done += written
    }
    guard done > 0 else { return }
    typed.removeFirst(done)
    tell(Queue.receive)
    guard wantsRoom else { return }
    wantsRoom = false
    onReceiveRoom()
  }

  // MARK: Device

  public func reset() {
    resetFunction()
    typed = []
    if wantsRoom {
      wantsRoom = false
      onReceiveRoom()
    }
  }

  private struct Saved: Codable {
    var function: FunctionState
    var typed: [UInt8]
    /// Missing in states of before.
    var columns: UInt16?
    var rows: UInt16?
  }
  private static let kind = "virtio-console"
  private static let version = 1

  public func save() throws -> StateSection {
    let saved = Saved(function: functionState, typed: typed, columns: columns, rows: rows)
    return try StateSection(name: name, kind: Self.kind, version: Self.version, state: saved)
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: Self.kind, upTo: Self.version)
    try check(saved.function, in: section)
    try requireValid(saved.typed.count <= Self.queueSize, in: section, "what was typed")
    restore(saved.function)
    typed = saved.typed
    (columns, rows) = (saved.columns ?? 80, saved.rows ?? 25)
  }
}
