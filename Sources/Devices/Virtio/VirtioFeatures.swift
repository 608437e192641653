/// Feature bits that device and driver agree on. Those below 24 and from 50 on are each kind of device's own, and are named
/// with it.
///
/// Source: OASIS, "Virtual I/O Device (VIRTIO) Version 1.2", 2.2 and 6.
struct VirtioFeatures: OptionSet, Codable, Equatable, Sendable {
  let rawValue: UInt64

  /// Descriptors may lie in any way (6.3); a matter of course since version 1.
  static let anyLayout = VirtioFeatures(rawValue: 1 << 27)
  /// A descriptor may refer to a table of descriptors.
  static let indirectDescriptors = VirtioFeatures(rawValue: 1 << 28)
  /// Both sides say by an index when they want to hear of the other.
  static let eventIndex = VirtioFeatures(rawValue: 1 << 29)
  /// The driver keeps to version 1; otherwise to what was there before ("legacy").
  static let version1 = VirtioFeatures(rawValue: 1 << 32)

  /// What every device's rings can do.
  static let rings: VirtioFeatures = [.indirectDescriptors, .eventIndex]

  static func bit(_ number: UInt64) -> VirtioFeatures { VirtioFeatures(rawValue: 1 << number) }
}

/// The device status field (2.1).
struct VirtioStatus: OptionSet, Codable, Equatable, Sendable {
  let rawValue: UInt8

  /// The driver has found the device, knows how to drive it, is ready.
  static let acknowledge = VirtioStatus(rawValue: 1)
  static let driver = VirtioStatus(rawValue: 2)
  static let driverOK = VirtioStatus(rawValue: 4)
  /// Both have agreed on the features.
  static let featuresOK = VirtioStatus(rawValue: 8)
  /// The device has met something that it cannot go on from.
  static let needsReset = VirtioStatus(rawValue: 64)
  /// The driver has given up.
  static let failed = VirtioStatus(rawValue: 128)
}
