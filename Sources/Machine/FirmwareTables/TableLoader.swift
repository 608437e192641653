import Foundation

/// The script by which firmware places tables: the file `etc/table-loader`, commands of 128 bytes each.
///
/// Source: QEMU, hw/acpi/bios-linker-loader.c; SeaBIOS, src/fw/romfile_loader.h.
struct TableLoader {
  enum Zone: UInt8 {
    case high = 1
    /// 0xF0000 to 0xFFFFF, where a guest looks for anchors.
    case fSegment = 2
  }

  static let fileName = "etc/table-loader"
  static let commandSize = 128
  private static let nameSize = 56

  private var script = TableBytes()

  var bytes: [UInt8] { script.bytes }

  /// The firmware reserves memory and copies the file there.
  mutating func allocate(_ file: String, alignment: UInt32, zone: Zone) {
    command(1) {
      $0.append(file, length: Self.nameSize, padding: 0)
      $0.append(alignment)
      $0.append(zone.rawValue)
    }
  }

  /// The firmware adds the address of `source` to the `size` bytes at `offset` of `file`, which hold an offset into
  /// `source`.
  mutating func addPointer(in file: String, at offset: Int, size: UInt8 = 4, to source: String) {
    command(2) {
      $0.append(file, length: Self.nameSize, padding: 0)
      $0.append(source, length: Self.nameSize, padding: 0)
      $0.append(UInt32(offset))
      $0.append(size)
    }
  }

  /// The firmware sets the byte at `offset` of `file` so that `range` adds up to 0.
  mutating func addChecksum(in file: String, at offset: Int, of range: Range<Int>) {
    command(3) {
      $0.append(file, length: Self.nameSize, padding: 0)
      $0.append(UInt32(offset))
      $0.append(UInt32(range.lowerBound))
      $0.append(UInt32(range.count))
    }
  }

  private mutating func command(_ number: UInt32, _ body: (inout TableBytes) -> Void) {
    var command = TableBytes()
    command.append(number)
    body(&command)
    command.append("", length: Self.commandSize - command.count, padding: 0)
    script.append(command)
  }
}
