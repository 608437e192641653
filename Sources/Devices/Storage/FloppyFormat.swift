/// What a floppy disk holds: one of the PC's formats, all of sectors of 512 bytes. An image has one by its size.
///
/// Source: IBM PC/AT Technical Reference, diskette drives; ECMA-70, 99, 100, 125.
public struct FloppyFormat: Equatable, Sendable {
  /// 40 or 80.
  public let cylinders: Int
  /// 1 or 2.
  public let heads: Int
  /// On each track.
  public let sectors: Int
  /// What the controller's rate must be, as CCR has it: 0: 500, 1: 300, 2: 250 kbit/s, 3: 1 Mbit/s. A disk of 40 cylinders is
  /// read at 300 kbit/s, as in the drives of 1.2 MB, which turn faster than those that it was made for.
  let rate: UInt8
  /// Of 5.25 inches; otherwise 3.5.
  let isLarge: Bool
  /// As people call it: "1.44 MB".
  public let label: String

  private init(_ label: String, _ cylinders: Int, _ heads: Int, _ sectors: Int, rate: UInt8, isLarge: Bool) {
    self.label = label
    self.cylinders = cylinders
    self.heads = heads
    self.sectors = sectors
    self.rate = rate
    self.isLarge = isLarge
  }

  /// All there are, by size.
  public static let all: [FloppyFormat] = [
    .init("160 KB", 40, 1, 8, rate: 1, isLarge: true), .init("180 KB", 40, 1, 9, rate: 1, isLarge: true),
    .init("320 KB", 40, 2, 8, rate: 1, isLarge: true), .init("360 KB", 40, 2, 9, rate: 1, isLarge: true),
    .init("720 KB", 80, 2, 9, rate: 2, isLarge: false), .init("1.2 MB", 80, 2, 15, rate: 0, isLarge: true),
    .init("1.44 MB", 80, 2, 18, rate: 0, isLarge: false), .init("1.68 MB", 80, 2, 21, rate: 0, isLarge: false),
    .init("2.88 MB", 80, 2, 36, rate: 3, isLarge: false),
  ]

  /// The format of an image; nil: no floppy disk has so many bytes.
  public init?(bytes: UInt64) {
    guard let format = Self.all.first(where: { $0.bytes == bytes }) else { return nil }
    self = format
  }

  /// Of an image.
  public var bytes: UInt64 { UInt64(cylinders * heads * sectors) * 512 }

  /// Steps of a drive of 80 cylinders from one of the disk's to the next.
  var steps: Int { cylinders == 40 ? 2 : 1 }
}

/// Kinds of floppy drives.
public enum FloppyDriveModel: String, Codable, CaseIterable, Sendable {
  /// 5.25 inches.
  case mb1_2 = "1.2M"
  /// 3.5 inches.
  case mb1_44 = "1.44M"
  case mb2_88 = "2.88M"

  /// The drive that a machine has at power-on for the disk that is in it then.
  public init(for format: FloppyFormat?) {
    guard let format else {
      self = .mb1_44
      return
    }
    self = format.isLarge ? .mb1_2 : format.rate == 3 ? .mb2_88 : .mb1_44
  }

  /// Its number in the CMOS byte 10H (PC/AT Technical Reference; 5: PS/2).
  public var cmosType: UInt8 {
    switch self {
    case .mb1_2: 2
    case .mb1_44: 4
    case .mb2_88: 5
    }
  }

  /// Whether a disk fits, and can be read.
  public func takes(_ format: FloppyFormat) -> Bool {
    (self == .mb1_2) == format.isLarge && (format.rate != 3 || self == .mb2_88)
  }
}
