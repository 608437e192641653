/// Pieces of ACPI Machine Language: each function gives the bytes of one term.
///
/// Source: ACPI Specification 2.0, chapter 17 (the encoding), chapter 6.4 (resource descriptors).
enum AML {
  typealias Code = [UInt8]

  // MARK: Names and numbers

  /// A name of up to four characters a segment, with "." between segments, "\" before the root.
  static func name(_ text: String) -> Code {
    var code: Code = []
    var rest = Substring(text)
    while let first = rest.first, first == "\\" || first == "^" {
      code += first.utf8
      rest = rest.dropFirst()
    }
    let segments = rest.split(separator: ".").map {
      Array($0.utf8) + Array(repeating: UInt8(ascii: "_"), count: 4 - $0.utf8.count)
    }
    switch segments.count {
    case 0: code.append(0)
    case 1: break
    case 2: code.append(0x2E)
    default: code += [0x2F, UInt8(segments.count)]
    }
    return code + segments.joined()
  }

  static func number(_ value: UInt64) -> Code {
    switch value {
    case 0: [0x00]
    case 1: [0x01]
    case 2...0xFF: [0x0A, UInt8(value)]
    case 0x100...0xFFFF: [0x0B] + little(value, 2)
    case 0x1_0000...0xFFFF_FFFF: [0x0C] + little(value, 4)
    default: [0x0E] + little(value, 8)
    }
  }

  static func text(_ value: String) -> Code { [0x0D] + Array(value.utf8) + [0] }

  /// A compressed EISA id such as "PNP0A03" (6.1.5 and the EISAID macro).
  static func eisaID(_ id: String) -> Code {
    let characters = Array(id.utf8)
    var value: UInt32 = 0
    for letter in characters.prefix(3) { value = value << 5 | UInt32(letter - 0x40) }
    value = value << 16 | (UInt32(id.suffix(4), radix: 16) ?? 0)
    return [0x0C] + little(UInt64(value.byteSwapped), 4)
  }

  static func little(_ value: UInt64, _ count: Int) -> Code {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
  }

  /// PkgLength, which counts itself, before `body`.
  private static func package(_ body: Code) -> Code {
    if body.count + 1 < 0x40 { return [UInt8(body.count + 1)] + body }
    for bytes in 1...3 where body.count + 1 + bytes < 1 << (4 + 8 * bytes) {
      let length = body.count + 1 + bytes
      return [UInt8(bytes << 6 | length & 0xF)] + little(UInt64(length >> 4), bytes) + body
    }
    preconditionFailure("a term of more than 256 MiB")
  }

  // MARK: Objects

  static func named(_ text: String, _ value: Code) -> Code { [0x08] + name(text) + value }
  static func scope(_ text: String, _ body: Code...) -> Code { [0x10] + package(name(text) + body.joined()) }
  static func device(_ text: String, _ body: Code...) -> Code { [0x5B, 0x82] + package(name(text) + body.joined()) }
  static func processor(_ text: String, id: UInt8) -> Code {
    [0x5B, 0x83] + package(name(text) + [id, 0, 0, 0, 0, 0])
  }
  static func method(_ text: String, arguments: UInt8 = 0, serialized: Bool = false, _ body: Code...) -> Code {
    [0x14] + package(name(text) + [arguments | (serialized ? 8 : 0)] + body.joined())
  }
  static func packageOf(_ elements: [Code]) -> Code {
    [0x12] + package([UInt8(elements.count)] + elements.joined())
  }
  static func buffer(_ bytes: Code) -> Code { [0x11] + package(number(UInt64(bytes.count)) + bytes) }

  /// An operation region of PCI configuration space.
  static func pciConfigRegion(_ text: String, offset: UInt64, length: UInt64) -> Code {
    [0x5B, 0x80] + name(text) + [2] + number(offset) + number(length)
  }

  /// Byte-wide fields that follow each other.
  static func byteFields(of region: String, _ fields: [String]) -> Code {
    [0x5B, 0x81] + package(name(region) + [1] + fields.flatMap { Array($0.utf8) + [8] })
  }

  // MARK: Statements

  static let argument0: Code = [0x68]
  static func returns(_ value: Code) -> Code { [0xA4] + value }
  static func store(_ value: Code, _ target: Code) -> Code { [0x70] + value + target }
  static func or(_ a: Code, _ b: Code, into target: Code) -> Code { [0x7D] + a + b + target }
  static func and(_ a: Code, _ b: Code) -> Code { [0x7B] + a + b + [0] }
  static func ifTrue(_ condition: Code, _ body: Code...) -> Code { [0xA0] + package(condition + body.joined()) }
  static func isLess(_ a: Code, _ b: Code) -> Code { [0x95] + a + b }
  static func doubleWordField(_ buffer: Code, at offset: UInt64, _ text: String) -> Code {
    [0x8A] + buffer + number(offset) + name(text)
  }

  // MARK: Resources

  /// A buffer of resource descriptors with its end tag.
  static func resources(_ descriptors: [Code]) -> Code { buffer(descriptors.flatMap { $0 } + [0x79, 0]) }

  static func io(_ first: UInt16, length: UInt8, alignment: UInt8 = 1) -> Code {
    [0x47, 1] + little(UInt64(first), 2) + little(UInt64(first), 2) + [alignment, length]
  }
  static func irq(_ number: Int) -> Code { [0x22] + little(1 << UInt64(number), 2) }
  /// Compatibility mode, 8 bits, not a bus master.
  static func byteDMA(channel: UInt8) -> Code { [0x2A, 1 << channel, 0] }
  static func fixedMemory(_ base: UInt32, length: UInt32, writable: Bool = true) -> Code {
    [0x86, 9, 0, writable ? 1 : 0] + little(UInt64(base), 4) + little(UInt64(length), 4)
  }

  /// Extended interrupts, level and active high, shared.
  static func interrupts(_ numbers: [UInt32]) -> Code {
    [0x89] + little(UInt64(2 + numbers.count * 4), 2) + [0x09, UInt8(numbers.count)]
      + numbers.flatMap { little(UInt64($0), 4) }
  }

  /// The range of bus numbers that a host bridge decodes.
  static func busRange(_ first: UInt16, _ last: UInt16) -> Code {
    [0x88] + little(13, 2) + [2, 0x0C, 0] + words([0, first, last, 0, last - first + 1])
  }
  static func ioRange(_ first: UInt16, _ last: UInt16) -> Code {
    [0x88] + little(13, 2) + [1, 0x0C, 3] + words([0, first, last, 0, last - first + 1])
  }
  /// - Parameter cacheable: as video memory below 1 MiB is.
  static func memoryRange(_ first: UInt32, _ last: UInt32, cacheable: Bool = false) -> Code {
    [0x87] + little(23, 2) + [0, 0x0C, cacheable ? 3 : 1]
      + [0, first, last, 0, last - first + 1].flatMap { little(UInt64($0), 4) }
  }
  private static func words(_ values: [UInt16]) -> Code { values.flatMap { little(UInt64($0), 2) } }
}
