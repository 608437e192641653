import Foundation

/// What a machine's screen and its viewers say to each other over `screen.sock`: a message is a packet (unix(7),
/// SOCK_SEQPACKET), its first byte says which, numbers are little-endian.
public enum ScreenProtocol {
  /// Both sides must have the same.
  public static let version: UInt16 = 1
  /// Rectangles in one message.
  static let rectangleLimit = 256
  /// Bytes of keys in one message.
  static let keyLimit = 64
  /// Bytes of text in one message.
  public static let textLimit = 2048
  /// Bytes of a machine's name, or a place's.
  private static let nameLimit = 1024
  /// As much of a name as a message has, in whole characters.
  static func name(_ text: String) -> String {
    var (result, bytes) = (String.UnicodeScalarView(), 0)
    for scalar in text.unicodeScalars {
      bytes += UTF8.width(scalar)
      if bytes > nameLimit { break }
      result.append(scalar)
    }
    return String(result)
  }
  /// Pixels of a picture: what is beyond is left out, whole lines at a time.
  static let pixelLimit = 4096 * 4096
}

/// A part of the picture, in pixels.
public struct ScreenRectangle: Equatable, Sendable {
  /// Pixels left of it.
  public var x: Int
  /// Lines above it.
  public var y: Int
  /// In pixels.
  public var width: Int
  /// In lines.
  public var height: Int

  public init(x: Int, y: Int, width: Int, height: Int) {
    (self.x, self.y, self.width, self.height) = (x, y, width, height)
  }
}

/// What viewers are told.
public enum ScreenNews: Equatable, Sendable {
  /// The first message: whose screen it is.
  case greeting(version: UInt16, machine: String)
  /// The picture has this size from now on. A descriptor of its memory comes along: `width * height` pixels of red, green, blue
  /// and 255, to be mapped for reading.
  case picture(width: Int, height: Int)
  /// What has changed in it. All of it has after `picture`, without being told.
  case changes([ScreenRectangle])
  /// The machine has gone; nothing follows. Where it runs now, if it runs anywhere.
  case gone(String)
}

/// What viewers say.
public enum ScreenInput: Equatable, Sendable {
  /// Changes are wanted: they are told once, as soon as there are some. Before the next are told, this is to be said again.
  case wantsChanges
  /// Presses and releases, as bytes of scan code set 1 (IBM PS/2 Hardware Interface Technical Reference).
  case keys([UInt8])
  /// The pointer moves by so many pixels (right, down positive) and the wheel by so many notches (towards the user positive);
  /// the buttons that are down: left 1, right 2, middle 4.
  case move(dx: Int, dy: Int, wheel: Int, buttons: UInt8)
  /// The pointer is at a place of the picture.
  case place(x: Int, y: Int, wheel: Int, buttons: UInt8)
  /// A text to be typed on a US keyboard.
  case text(String)
}

extension ScreenNews {
  var encoded: [UInt8] {
    var packet: PacketWriter
    switch self {
    case .greeting(let version, let machine):
      packet = PacketWriter(1)
      packet.add(version)
      packet.add(Array(ScreenProtocol.name(machine).utf8))
    case .picture(let width, let height):
      packet = PacketWriter(2)
      packet.add(UInt16(width))
      packet.add(UInt16(height))
    case .changes(let rectangles):
      packet = PacketWriter(3)
      for part in rectangles {
        for value in [part.x, part.y, part.width, part.height] { packet.add(UInt16(value)) }
      }
    case .gone(let place):
      packet = PacketWriter(4)
      packet.add(Array(ScreenProtocol.name(place).utf8))
    }
    return packet.bytes
  }

  /// nil: these are no news.
  init?(_ bytes: [UInt8]) {
    var packet = PacketReader(bytes)
    switch packet.byte() {
    case 1:
      guard let version = packet.number() else { return nil }
      self = .greeting(version: version, machine: packet.name())
    case 2:
      guard let width = packet.number(), let height = packet.number(), packet.isEmpty else { return nil }
      guard width > 0, height > 0, Int(width) * Int(height) <= ScreenProtocol.pixelLimit else { return nil }
      self = .picture(width: Int(width), height: Int(height))
    case 3:
      guard packet.count % 8 == 0, packet.count / 8 <= ScreenProtocol.rectangleLimit else { return nil }
      var rectangles: [ScreenRectangle] = []
      while let x = packet.number(), let y = packet.number(), let width = packet.number(), let height = packet.number()
      {
        rectangles.append(ScreenRectangle(x: Int(x), y: Int(y), width: Int(width), height: Int(height)))
      }
      self = .changes(rectangles)
    case 4: self = .gone(packet.name())
    default: return nil
    }
  }
}

extension ScreenInput {
  var encoded: [UInt8] {
    var packet: PacketWriter
    switch self {
    case .wantsChanges: packet = PacketWriter(1)
    case .keys(let codes):
      packet = PacketWriter(2)
      packet.add(codes)
    case .move(let dx, let dy, let wheel, let buttons):
      packet = PacketWriter(3)
      for value in [dx, dy, wheel] { packet.add(UInt16(bitPattern: Int16(clamping: value))) }
      packet.add([buttons])
    case .place(let x, let y, let wheel, let buttons):
      packet = PacketWriter(4)
      for value in [x, y] { packet.add(UInt16(clamping: value)) }
      packet.add(UInt16(bitPattern: Int16(clamping: wheel)))
      packet.add([buttons])
    case .text(let text):
      packet = PacketWriter(5)
      packet.add(Array(text.utf8))
    }
    return packet.bytes
  }

  /// nil: this is nothing that a viewer says.
  init?(_ bytes: [UInt8]) {
    var packet = PacketReader(bytes)
    switch packet.byte() {
    case 1:
      guard packet.isEmpty else { return nil }
      self = .wantsChanges
    case 2:
      guard (1...ScreenProtocol.keyLimit).contains(packet.count) else { return nil }
      self = .keys(packet.rest())
    case 3:
      guard packet.count == 7, let dx = packet.signed(), let dy = packet.signed(), let wheel = packet.signed(),
        let buttons = packet.byte()
      else { return nil }
      self = .move(dx: dx, dy: dy, wheel: wheel, buttons: buttons)
    case 4:
      guard packet.count == 7, let x = packet.number(), let y = packet.number(), let wheel = packet.signed(),
        let buttons = packet.byte()
      else { return nil }
      self = .place(x: Int(x), y: Int(y), wheel: wheel, buttons: buttons)
    case 5:
      guard (1...ScreenProtocol.textLimit).contains(packet.count),
        let text = String(validating: packet.rest(), as: UTF8.self)
      else { return nil }
      self = .text(text)
    default: return nil
    }
  }
}

private struct PacketWriter {
  var bytes: [UInt8]

  init(_ kind: UInt8) { bytes = [kind] }

  mutating func add(_ more: [UInt8]) { bytes += more }
  mutating func add(_ number: UInt16) { bytes += [UInt8(number & 0xFF), UInt8(number >> 8)] }
}

private struct PacketReader {
  private var bytes: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { self.bytes = bytes[...] }

  var count: Int { bytes.count }
  var isEmpty: Bool { bytes.isEmpty }

  mutating func byte() -> UInt8? { bytes.popFirst() }

  mutating func number() -> UInt16? {
    guard bytes.count >= 2, let low = bytes.popFirst(), let high = bytes.popFirst() else { return nil }
    return UInt16(low) | UInt16(high) << 8
  }

  mutating func signed() -> Int? { number().map { Int(Int16(bitPattern: $0)) } }

  mutating func rest() -> [UInt8] {
    defer { bytes = [] }
    return Array(bytes)
  }

  /// The name that is left; bytes that are no UTF-8 are marked.
  mutating func name() -> String { ScreenProtocol.name(String(decoding: rest(), as: UTF8.self)) }
}
