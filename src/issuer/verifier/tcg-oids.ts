/** Object identifiers of the TCG EK Credential Profile and of AK certificates. */

/** tcg-kp-EKCertificate, an extended key usage. */
export const EK_CERTIFICATE_PURPOSE = '2.23.133.8.1';
/** tcg-at-tpmManufacturer, tcg-at-tpmModel, tcg-at-tpmVersion: attributes of the directoryName in the SAN. */
export const TPM_MANUFACTURER = '2.23.133.2.1';
export const TPM_MODEL = '2.23.133.2.2';
export const TPM_VERSION = '2.23.133.2.3';
/** tcg-at-tpmSpecification, a subject directory attribute. */
export const TPM_SPECIFICATION = '2.23.133.2.16';
