import GuestMemory
import Testing

@testable import Devices

/// A card on a board with memory, driven as a driver drives it.
final class E1000Bench {
  static let address = MACAddress([0x08, 0x00, 0x27, 0x12, 0x34, 0x56])!
  static let registers: UInt64 = 0xFEB0_0000
  static let receiveRing: UInt64 = 0x10000
  static let transmitRing: UInt64 = 0x20000
  static let receiveBuffers: UInt64 = 0x40000
  static let transmitBuffers: UInt64 = 0x100000

  let board: TestBoard
  let card: E1000
  private(set) var sent: [[UInt8]] = []
  private var transmitTail: UInt32 = 0
  private(set) var roomNotices = 0
  var wireRoom = Int.max

  init() throws {
    board = try TestBoard(megabytes: 4)
    card = E1000(
      name: "nic1", address: Self.address, memory: board.memory, ports: board.ports, clock: board.time.clock)
    board.pci.attach(card, slot: 3)
    card.onSend = { [unowned self] in
      sent.append($0)
      if wireRoom != .max { wireRoom -= 1 }
    }
    card.wireHasRoom = { [unowned self] in wireRoom >= 2 }
    card.onReceiveRoom = { [unowned self] in roomNotices += 1 }
    board.configWrite(3, 0, 0x10, UInt32(Self.registers))
    board.configWrite(3, 0, 0x18, 0xC000)
    board.configWrite(3, 0, 0x04, 7, size: 2)
  }

  subscript(_ register: Int) -> UInt32 {
    get { UInt32(truncatingIfNeeded: board.memory.readIO(Self.registers + UInt64(register), size: 4)) }
    set { board.memory.writeIO(Self.registers + UInt64(register), size: 4, value: UInt64(newValue)) }
  }

  func takeSent() -> [[UInt8]] {
    defer { sent = [] }
    return sent
  }

  // MARK: Rings

  /// Gives the card a receive ring with buffers of 2 KiB.
  func startReceiving(_ count: UInt32 = 16, control: UInt32 = 0x0000_8002, given: UInt32? = nil) {
    for index in 0..<count {
      board.memory.write(Self.receiveRing + UInt64(index) * 16, Self.receiveBuffers + UInt64(index) * 2048)
      board.memory.write(Self.receiveRing + UInt64(index) * 16 + 8, 0 as UInt64)
    }
    self[0x2800] = UInt32(Self.receiveRing)
    self[0x2804] = 0
    self[0x2808] = count * 16
    self[0x2810] = 0
    self[0x2818] = given ?? count - 1
    self[0x100] = control
  }

  /// A receive descriptor's length, status, errors and special.
  func received(_ index: UInt32) -> (length: Int, checksum: UInt16, status: UInt8, errors: UInt8, special: UInt16) {
    let fields = board.memory.read(Self.receiveRing + UInt64(index) * 16 + 8, as: UInt64.self)
    return (
      Int(fields & 0xFFFF), UInt16(truncatingIfNeeded: fields >> 16), UInt8(truncatingIfNeeded: fields >> 32),
      UInt8(truncatingIfNeeded: fields >> 40), UInt16(truncatingIfNeeded: fields >> 48)
    )
  }

  func buffer(_ index: UInt32, _ count: Int) -> [UInt8] {
    bytes(at: Self.receiveBuffers + UInt64(index) * 2048, count)
  }

  func bytes(at address: UInt64, _ count: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: count)
    result.withUnsafeMutableBytes { board.memory.read(address, into: $0) }
    return result
  }

  func startTransmitting(_ count: UInt32 = 16) {
    self[0x3800] = UInt32(Self.transmitRing)
    self[0x3804] = 0
    self[0x3808] = count * 16
    self[0x3810] = 0
    self[0x3818] = 0
    self[0x400] = 0x0000_000A
    transmitTail = 0
  }

  func descriptor(_ low: UInt64, _ high: UInt64) {
    let place = Self.transmitRing + UInt64(transmitTail) * 16
    board.memory.write(place, low)
    board.memory.write(place + 8, high)
    transmitTail = (transmitTail + 1) % (self[0x3808] / 16)
  }

  func put(_ bytes: [UInt8], at address: UInt64 = E1000Bench.transmitBuffers) {
    bytes.withUnsafeBytes { board.memory.write(address, from: $0) }
  }

  /// Hands over what `descriptor` has put.
  func go() { self[0x3818] = transmitTail }

  /// A transmit descriptor's status.
  func transmitted(_ index: UInt32) -> UInt8 {
    board.memory.read(Self.transmitRing + UInt64(index) * 16 + 12, as: UInt8.self)
  }

  func mdio(_ register: UInt32) -> UInt16 {
    self[0x20] = 2 << 26 | 1 << 21 | register << 16
    return UInt16(truncatingIfNeeded: self[0x20])
  }

  func mdio(_ register: UInt32, write value: UInt16) { self[0x20] = 1 << 26 | 1 << 21 | register << 16 | UInt32(value) }
}

/// Frames for tests.
enum SampleFrame {
  static func ethernet(
    to: [UInt8] = E1000Bench.address.bytes, type: UInt16 = 0x88B5, _ payload: [UInt8] = [UInt8](repeating: 7, count: 50)
  ) -> [UInt8] {
    to + [0x02, 0, 0, 0, 0, 1, UInt8(type >> 8), UInt8(type & 0xFF)] + payload
  }

  /// An IPv4 packet with TCP whose checksums are right.
  static func tcp4(_ payload: [UInt8], to: [UInt8] = E1000Bench.address.bytes) -> [UInt8] {
    var segment: [UInt8] = [0x12, 0x34, 0, 80, 0, 0, 1, 0, 0, 0, 2, 0, 0x50, 0x18, 0x10, 0, 0, 0, 0, 0] + payload
    let addresses: [UInt8] = [10, 0, 2, 15, 10, 0, 2, 2]
    let pseudo = addresses + [0, 6, UInt8(segment.count >> 8), UInt8(segment.count & 0xFF)]
    segment.setWord(at: 16, ~naive(pseudo + segment))
    let total = segment.count + 20
    var header: [UInt8] = [0x45, 0, UInt8(total >> 8), UInt8(total & 0xFF), 0, 9, 0x40, 0, 64, 6, 0, 0] + addresses
    header.setWord(at: 10, ~naive(header))
    return ethernet(to: to, type: 0x0800, header + segment)
  }

  /// The one's complement sum as RFC 1071 words it, for comparison.
  static func naive(_ bytes: [UInt8]) -> UInt16 {
    var sum = 0
    for (index, byte) in bytes.enumerated() { sum += index & 1 == 0 ? Int(byte) << 8 : Int(byte) }
    while sum > 0xFFFF { sum = (sum & 0xFFFF) + (sum >> 16) }
    return UInt16(sum)
  }
}
