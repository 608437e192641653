/// Port 0x402, where SeaBIOS writes what it does when the port reads as 0xE9 (SeaBIOS: src/output.c). Of that only what people
/// must know is passed on. Nothing in it is the guest's: it is not saved, and a line that is cut is lost.
public final class FirmwareWords: BytePortIO {
  /// What SeaBIOS writes when it has tried everything (src/boot.c).
  static let nothingBootable = "No bootable device."

  private let onNothingBootable: () -> Void
  private var line: [UInt8] = []

  /// - Parameter onNothingBootable: the BIOS has found nothing to boot. Called with the machine lock held.
  public init(ports: PortBus, onNothingBootable: @escaping () -> Void) {
    self.onNothingBootable = onNothingBootable
    ports.map(self, 0x402...0x402)
  }

  public func readByte(_ port: UInt16) -> UInt8 { 0xE9 }

  public func writeByte(_ port: UInt16, _ value: UInt8) {
    guard value == 0x0A else {
      if line.count < 256 { line.append(value) }
      return
    }
    if String(decoding: line, as: UTF8.self).hasPrefix(Self.nothingBootable) { onNothingBootable() }
    line.removeAll(keepingCapacity: true)
  }
}
