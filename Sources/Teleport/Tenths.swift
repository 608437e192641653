extension Double {
  /// With one place behind the point, for people: "12.3".
  package var tenths: String {
    let rounded = Int((Swift.min(self, 1e15) * 10).rounded())
    return "\(rounded / 10).\(abs(rounded % 10))"
  }
}
