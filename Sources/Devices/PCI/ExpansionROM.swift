/// The code for PCs in a PCI expansion ROM (PCI 3.0, 6.3.1).
enum ExpansionROM {
  /// The same image, naming the device with this identity. Firmware runs no other (6.3.3.1), while a ROM that serves several
  /// devices names one of them: iPXE's for virtio the one without registers for old drivers.
  static func image(_ image: [UInt8], vendor: UInt16, device: UInt16) -> [UInt8] {
    func word(_ offset: Int) -> Int { Int(image[offset]) | Int(image[offset + 1]) << 8 }
    guard image.count >= 0x1A, image[0] == 0x55, image[1] == 0xAA else { return image }
    // The data structure (6.3.1.2): "PCIR", vendor, device; the kind of code is 0.
    let structure = word(0x18)
    guard structure >= 0x1A, structure + 0x16 <= image.count, image[structure + 0x14] == 0,
      image[structure..<structure + 4].elementsEqual("PCIR".utf8)
    else { return image }
    var result = image
    let identity = [vendor & 0xFF, vendor >> 8, device & 0xFF, device >> 8].map(UInt8.init)
    for (index, byte) in identity.enumerated() {
      let place = structure + 4 + index
      // The bytes' sum is 0 (6.3.1.1); the first of those that are the ROM's own makes up for the others.
      result[6] = result[6] &+ result[place] &- byte
      result[place] = byte
    }
    return result
  }
}
