import GuestMemory
import SavedState

/// The entropy device of virtio: fills the guest's buffers with random bytes of the host.
///
/// Source: virtio 1.2, 5.4.
public final class VirtioEntropy: VirtioPCI, Device {
  public let name: String
  private let random: (UnsafeMutableRawBufferPointer) -> Void
  /// Bytes that go into one buffer, and that one look into the queue gives.
  private static let chainLimit = 4096
  private static let shareLimit = 65_536

  /// - Parameter random: fills a buffer; the host's generator unless a test has its own.
  public init(
    name: String = "rng", memory: PhysicalMemory, ports: PortBus, clock: GuestClock, fabric: InterruptFabric,
    random: @escaping (UnsafeMutableRawBufferPointer) -> Void = VirtioEntropy.hostRandom
  ) {
    self.name = name
    self.random = random
    super.init(
      name: name,
      Kind(
        type: 4, deviceID: 0x1005, classCode: 0x00FF00, features: [], queueSizes: [64], configurationBytes: 0),
      memory: memory, ports: ports, clock: clock, fabric: fabric)
  }

  /// Fills `buffer` from the host's generator.
  public static func hostRandom(_ buffer: UnsafeMutableRawBufferPointer) {
    var generator = SystemRandomNumberGenerator()
    for index in buffer.indices { buffer[index] = UInt8.random(in: 0...255, using: &generator) }
  }

  override func serve(_ queue: Int) {
    var left = Self.shareLimit
    while left > 0 {
      guard let chain = next(0) else { return tell(0) }
      let count = min(chain.writableBytes, Self.chainLimit)
      let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        random(UnsafeMutableRawBufferPointer(buffer))
        initialized = count
      }
      give(0, chain.head, written: chain.write(bytes, memory: memory))
      left -= max(count, 256)
    }
    tell(0)
    goOnLater()
  }

  public func reset() { resetFunction() }

  private static let kind = "virtio-rng"
  private static let version = 1

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: Self.kind, version: Self.version, state: functionState)
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(FunctionState.self, kind: Self.kind, upTo: Self.version)
    try check(saved, in: section)
    restore(saved)
  }
}
